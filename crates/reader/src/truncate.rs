//! The text cut to its length: at a block, or when that would leave less than half of it, at a line, or at a word.
//! Fences that are open are closed, and no cut falls into a link or into verbatim text within a line.

use crate::page::Truncation;
use crate::render::Line;

pub(crate) fn join(blocks: &[Vec<Line>]) -> String {
    let blocks =
        blocks.iter().map(|lines| lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n"));
    blocks.collect::<Vec<_>>().join("\n\n")
}

pub(crate) fn note(why: Truncation, max_chars: usize) -> String {
    let why = match why {
        Truncation::Bytes => "it is larger than what is read of a page".to_owned(),
        Truncation::Depth => "its elements are nested too deep".to_owned(),
        Truncation::Nodes => "it has too many elements".to_owned(),
        Truncation::Attributes => "it has a tag with too many attributes".to_owned(),
        Truncation::Length => format!("it is longer than {max_chars} characters"),
    };
    format!("[The rest of this page was left out: {why}.]")
}

/// Whether something was cut.
pub(crate) fn cut(blocks: &mut Vec<Vec<Line>>, max_chars: usize) -> bool {
    let mut used = 0;
    for at in 0..blocks.len() {
        let separator = if at == 0 { 0 } else { 2 };
        let length: usize = blocks[at].iter().map(|line| line.text.chars().count() + 1).sum::<usize>() - 1;
        if used + separator + length <= max_chars {
            used += separator + length;
            continue;
        }
        blocks.truncate(at + 1);
        let last = blocks.pop().unwrap_or_default();
        if used < max_chars / 2 {
            let part = cut_block(&last, max_chars - used - separator);
            if !part.is_empty() {
                blocks.push(part);
            }
        }
        return true;
    }
    false
}

fn cut_block(lines: &[Line], max_chars: usize) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    // The fence at or after each line.
    let mut fences: Vec<Option<&Line>> = vec![None; lines.len() + 1];
    for (at, line) in lines.iter().enumerate().rev() {
        fences[at] = if line.fence { Some(line) } else { fences[at + 1] };
    }
    let room_for = |fence: Option<&Line>| fence.map_or(0, |line| line.text.chars().count() + 1);
    let (mut used, mut open) = (0, false);
    for (at, line) in lines.iter().enumerate() {
        let closing = fences[at].filter(|_| open);
        // Room that the fence will need.
        let reserved = match (line.fence, open) {
            (true, false) => room_for(fences[at + 1]),
            (true, true) => 0,
            (false, _) => room_for(closing),
        };
        let length = line.text.chars().count() + 1;
        if used + length + reserved <= max_chars + 1 {
            open ^= line.fence;
            used += length;
            out.push(line.clone());
            continue;
        }
        let room = (max_chars + 1).saturating_sub(used + reserved + 1);
        if !line.fence && used < max_chars / 2 {
            let text = if line.verbatim {
                line.text.chars().take(room).collect()
            } else {
                cut_line(&line.text, room)
            };
            if !text.is_empty() {
                out.push(Line { text, ..line.clone() });
            }
        }
        out.extend(closing.cloned());
        return out;
    }
    out
}

/// The longest part of a line that ends between words, outside of links and of verbatim text.
fn cut_line(text: &str, room: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut best, mut brackets, mut ticks) = (0, 0, 0_i32, 0);
    while at < chars.len() && at <= room {
        let c = chars[at];
        match c {
            '`' => {
                let run = chars[at..].iter().take_while(|c| **c == '`').count();
                if ticks == 0 {
                    ticks = run;
                } else if ticks == run {
                    ticks = 0;
                }
                at += run;
                continue;
            }
            '\\' if ticks == 0 => at += 1,
            '[' if ticks == 0 => brackets += 1,
            ']' if ticks == 0 => brackets -= 1,
            ' ' if ticks == 0 && brackets == 0 => best = at,
            _ => {}
        }
        at += 1;
    }
    if best == 0 && !text.contains([' ', '`', '[', '\\']) {
        // One endless word, as in writing without spaces.
        best = room;
    }
    chars[..best.min(chars.len())].iter().collect()
}
