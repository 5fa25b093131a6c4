use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

/// One entry of a hostile archive, written byte by byte: the library that writes tars would refuse it.
#[derive(Debug, Clone)]
struct Raw {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
    size: Option<u64>,
}

fn raw(name: &[u8], kind: u8) -> Raw {
    Raw { name: name.to_vec(), kind, link: Vec::new(), mode: 0o644, content: Vec::new(), size: None }
}

fn file(name: &str) -> Raw {
    Raw { content: b"x".to_vec(), ..raw(name.as_bytes(), b'0') }
}

fn link(name: &str, target: &str) -> Raw {
    Raw { link: target.as_bytes().to_vec(), ..raw(name.as_bytes(), b'2') }
}

fn tar(entries: &[Raw]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut name = entry.name.clone();
        if name.len() > 100 {
            push(&mut out, &Raw { content: [name.clone(), vec![0]].concat(), ..raw(b"././@LongLink", b'L') });
            name.truncate(100);
        }
        push(&mut out, &Raw { name, ..entry.clone() });
    }
    out.extend([0; 1024]);
    out
}

fn push(out: &mut Vec<u8>, entry: &Raw) {
    let mut header = [0_u8; 512];
    header[..entry.name.len()].copy_from_slice(&entry.name);
    let octal = |n: u64, width: usize| format!("{n:0width$o}\0").into_bytes();
    header[100..108].copy_from_slice(&octal(entry.mode.into(), 7));
    header[108..116].copy_from_slice(&octal(0, 7));
    header[116..124].copy_from_slice(&octal(0, 7));
    header[124..136].copy_from_slice(&octal(entry.size.unwrap_or(entry.content.len() as u64), 11));
    header[136..148].copy_from_slice(&octal(0, 11));
    header[148..156].fill(b' ');
    header[156] = entry.kind;
    let link = &entry.link[..entry.link.len().min(100)];
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar  \0");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(header);
    out.extend(&entry.content);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

/// A folder in a folder, so that one can see what landed beside it.
fn try_unpack(artifact: &[u8], limits: &UnpackLimits) -> (tempfile::TempDir, Result<usize>) {
    let around = tempfile::tempdir().unwrap();
    let inside = around.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let outcome = unpack(artifact, &inside, limits);
    let beside: Vec<_> = fs::read_dir(around.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(beside, ["inside"], "something was written outside");
    (around, outcome)
}

fn entries(entries: &[Raw]) -> Result<usize> {
    try_unpack(&gzip(&tar(entries)), &UnpackLimits::default()).1
}

#[test]
fn an_honest_artifact_comes_out_whole() {
    let script = Raw { mode: 0o755, ..file("bin/run") };
    let long = format!("d/{}", "n".repeat(150));
    let all = [
        raw(b"./", b'5'),
        raw(b"./bin/", b'5'),
        script,
        file("./a..b/..c"),
        file(&long),
        link("bin/l", "../a..b/..c"),
        raw(b"bin/", b'5'),
    ];
    let (around, outcome) = try_unpack(&gzip(&tar(&all)), &UnpackLimits::default());
    assert_eq!(outcome, Ok(3));
    let top = around.path().join("inside");
    assert_eq!(fs::read_to_string(top.join("bin/l")).unwrap(), "x");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(top.join("bin/run")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(list(&top).unwrap().len(), 7);
}

#[test]
fn hostile_entries_are_refused_by_name() {
    let setuid = Raw { mode: 0o4755, ..file("suid") };
    let setgid = Raw { mode: 0o2755, ..file("sgid") };
    let hard = Raw { link: b"/etc/passwd".to_vec(), ..raw(b"hard", b'1') };
    let cases: Vec<(Vec<Raw>, &str)> = vec![
        (vec![file("../x")], "`../x` leads out"),
        (vec![file("a/../../x")], "`a/../../x` leads out"),
        (vec![file("a/..")], "leads out"),
        (vec![file("/etc/x")], "`/etc/x` is an absolute path"),
        (vec![link("l", "/etc/passwd")], "`l` links to an absolute path"),
        (vec![link("l", "../x")], "`l` links out"),
        (vec![link("a/l", "../../x")], "`a/l` links out"),
        (vec![link("a/l", "b/../../../x")], "`a/l` links out"),
        (vec![link("l", ".."), file("l/x")], "`l` links out"),
        (vec![link("d", "."), file("d/x")], "`d/x` is below something that is no folder"),
        (vec![file("f"), file("f/x")], "`f/x` is below something that is no folder"),
        (vec![link("a/b", "c"), link("a/c", "."), link("x", "a/b/../..")], "by way of another link"),
        (vec![hard], "`hard` is a hard link"),
        (vec![raw(b"dev", b'3')], "`dev` is a device"),
        (vec![raw(b"dev", b'4')], "`dev` is a device"),
        (vec![raw(b"pipe", b'6')], "`pipe` is a named pipe"),
        (vec![setuid], "`suid` has a set-user"),
        (vec![setgid], "`sgid` has a set-user or set-group"),
        (vec![raw(b"a\nb", b'0')], "`a?b` has a control character"),
        (vec![raw("a\u{202e}b".as_bytes(), b'0')], "control character"),
        (vec![raw(b"a\xffb", b'0')], "is not named in UTF-8"),
        (vec![file("a\\b")], "has a backslash"),
        (vec![file("a.")], "ends with a dot"),
        (vec![file("a /b")], "ends with a dot or a space"),
        (vec![file("a"), file("./a")], "`./a` is there twice"),
        (vec![raw(b"d/", b'5'), file("d")], "`d` is there twice"),
        (vec![file(&"n".repeat(201))], "has a name longer than 200"),
        (vec![file(&"d/".repeat(41))], "is deeper than 40"),
        (vec![raw(b"odd", b'Z')], "is of a kind"),
        (vec![file("x/.ryokan.dockerfile")], "is reserved"),
        (vec![file(".")], "has no name"),
    ];
    for (archive, expected) in cases {
        let error = entries(&archive).unwrap_err().to_string();
        assert!(error.contains(expected), "{archive:?}\n{error}");
    }
}

#[test]
fn bombs_do_not_go_off() {
    let limits = UnpackLimits { entries: 50, bytes: 3_000_000, file: 2_000_000, ..UnpackLimits::default() };
    let outcome = |all: &[Raw]| try_unpack(&gzip(&tar(all)), &limits).1.unwrap_err().to_string();
    let noise = |n: usize| -> Vec<u8> {
        let mut x = 1_u64;
        std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            x.to_le_bytes()[5]
        })
        .take(n)
        .collect()
    };
    let many: Vec<_> = (0..60).map(|i| file(&format!("f{i}"))).collect();
    assert!(outcome(&many).contains("more than 50 entries"));
    let deep: Vec<_> = (0..30).map(|i| file(&format!("{i}/{i}/x"))).collect();
    assert!(outcome(&deep).contains("more than 50 entries"), "folders that are only implied count too");
    assert!(outcome(&[Raw { content: noise(2_000_001), ..file("big") }]).contains("`big` is larger"));
    let two =
        [Raw { content: noise(1_900_000), ..file("a") }, Raw { content: noise(1_900_000), ..file("b") }];
    assert!(outcome(&two).contains("more than 3000000 bytes"));
    assert!(outcome(&[Raw { content: vec![0; 1_990_000], ..file("zeros") }]).contains("times its size"));
    // A long name that is said to be gigabytes long.
    let name = Raw { size: Some(8_000_000_000), content: vec![b'n'; 512], ..raw(b"././@LongLink", b'L') };
    let mut lie = Vec::new();
    push(&mut lie, &name);
    lie.extend(vec![b'n'; 4_000_000]);
    let error = try_unpack(&gzip(&lie), &limits).1.unwrap_err();
    assert!(!matches!(error, UnpackError::Server(_)), "{error}");
}

#[test]
fn what_is_no_archive_is_said_so() {
    for bad in [&b""[..], b"hello", &gzip(b"not a tar at all, but long enough to be one"), &gzip(&[1; 2048])]
    {
        let outcome = try_unpack(bad, &UnpackLimits::default()).1;
        // Nothing at all is an empty archive to the reader of tars; the manifest is missed then.
        assert!(!matches!(outcome, Ok(n) if n > 0), "{outcome:?}");
    }
    let whole = gzip(&tar(&[Raw { content: vec![7; 5000], ..file("a") }]));
    let cut = try_unpack(&whole[..whole.len() / 2], &UnpackLimits::default()).1;
    assert!(matches!(cut, Err(UnpackError::Damaged(_))), "{cut:?}");
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("c".to_owned()),
        "[a-c.]{1,4}",
        "\\PC{1,3}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    (any::<bool>(), proptest::collection::vec(part(), 1..5)).prop_map(|(top, parts)| {
        format!("{}{}", if top && parts.len() > 3 { "/" } else { "" }, parts.join("/"))
    })
}

fn hostile() -> impl Strategy<Value = Raw> {
    let kind = prop_oneof![4 => Just(b'0'), 3 => Just(b'2'), 2 => Just(b'5'), 1 => any::<u8>()];
    let mode = prop_oneof![8 => Just(0o644_u32), 1 => 0..0o7777_u32];
    (path(), path(), kind, mode, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(name, target, kind, mode, content)| Raw {
            name: name.into_bytes(),
            link: target.into_bytes(),
            kind,
            mode,
            content: if kind == b'0' { content } else { Vec::new() },
            size: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes, nothing is written outside, and what links there are lead nowhere else.
    #[test]
    fn nothing_gets_out(all in proptest::collection::vec(hostile(), 1..8)) {
        let (around, outcome) = try_unpack(&gzip(&tar(&all)), &UnpackLimits::default());
        if outcome.is_ok() {
            let top = around.path().join("inside").canonicalize().unwrap();
            for path in list(&top).unwrap() {
                // A link may dangle, or lead round in a circle.
                if let Ok(real) = path.canonicalize() {
                    prop_assert!(real.starts_with(&top), "{path:?} is {real:?}");
                }
                prop_assert!(path.symlink_metadata().unwrap().file_type().is_symlink() || path.is_file() || path.is_dir());
            }
        }
    }

    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = try_unpack(&noise, &UnpackLimits::default());
        let _ = try_unpack(&gzip(&noise), &UnpackLimits::default());
    }

    #[test]
    fn a_flipped_byte_is_no_harm(at in 0..2048_usize, with: u8) {
        let mut data = tar(&[file("a/b"), link("l", "a/b"), raw(b"d/", b'5')]);
        let at = at % data.len();
        data[at] = with;
        let _ = try_unpack(&gzip(&data), &UnpackLimits::default());
    }
}
