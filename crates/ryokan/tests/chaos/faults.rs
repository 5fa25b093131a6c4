//! The faults, in an order and at times that a seed gives. One hand makes them all; each of those that last ends by
//! itself, and several may last at a time.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::Store;
use crate::support::dice::Dice;
use crate::support::rig::INTERRUPTED;
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL of the server, which a service manager starts again.
    Server,
    /// SIGKILL of `dockerd`.
    Engine,
    /// SIGKILL of PostgreSQL, all of it.
    Postgres,
    /// `docker kill` behind the server's back.
    Kill,
    /// `docker rm -f` behind the server's back.
    Remove,
    /// The disk of the data folder is full.
    Disk,
    /// The server's clock jumps an hour ahead or back, and back again.
    Clock,
    /// The engine answers late.
    Slow,
    /// The engine's connections are cut.
    Cut,
    /// The engine's connections stand still.
    Stall,
}

impl Fault {
    pub(crate) fn word(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }

    /// Among a hundred, about.
    fn weight(self) -> u64 {
        match self {
            Self::Kill | Self::Remove => 25,
            Self::Server => 12,
            Self::Cut => 10,
            Self::Postgres | Self::Clock | Self::Slow | Self::Stall | Self::Disk => 7,
            // It takes all containers with it, and its own time to come back.
            Self::Engine => 5,
        }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) faults: BTreeMap<Fault, u32>,
    /// How the server ended when nobody had killed it and nothing that it needs to start was away.
    pub(crate) deaths: Vec<String>,
}

struct Hand<'a> {
    world: &'a World<'a>,
    dice: Dice,
    /// What lasts, and when it ends.
    lasting: BTreeMap<Fault, Instant>,
    /// When what lasted last ended.
    ended: BTreeMap<Fault, Instant>,
    /// When the server was last started, and how often it has come up until then.
    server_since: Instant,
    came_up: usize,
    done: Done,
}

/// Lets faults happen until then; those that last may last on.
pub(crate) fn strike(world: &World, store: Store, from: &[Fault], seed: u64, until: Instant) -> Done {
    let enabled: Vec<Fault> =
        from.iter().copied().filter(|f| *f != Fault::Postgres || store == Store::Postgres).collect();
    let total: u64 = enabled.iter().map(|f| f.weight()).sum();
    let mut hand = Hand {
        world,
        dice: Dice::new(seed),
        lasting: BTreeMap::new(),
        ended: BTreeMap::new(),
        server_since: Instant::now(),
        came_up: 0,
        done: Done::default(),
    };
    let mut next = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until && !INTERRUPTED.load(Ordering::Relaxed) {
        let now = Instant::now();
        let over: Vec<Fault> = hand.lasting.iter().filter(|(_, at)| **at <= now).map(|(f, _)| *f).collect();
        for fault in over {
            hand.end(fault);
            hand.lasting.remove(&fault);
            hand.ended.insert(fault, Instant::now());
        }
        hand.supervise();
        if now >= next && total > 0 {
            let mut at = hand.dice.roll(total);
            let (gap, lasts) = (100 + hand.dice.roll(1400), hand.dice.roll(1000));
            next = now + Duration::from_millis(gap);
            let chosen = enabled.iter().copied().find(|fault| {
                let here = at < fault.weight();
                at = at.saturating_sub(fault.weight());
                here
            });
            if let Some(fault) = chosen.filter(|fault| !hand.lasting.contains_key(fault)) {
                hand.begin(fault, lasts);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    hand.done
}

impl Hand<'_> {
    /// `lasts`, of a thousand, says where between its bounds the length of the fault is.
    fn begin(&mut self, fault: Fault, lasts: u64) {
        let world = self.world;
        let (least, most) = match fault {
            Fault::Server => {
                world.rig.kill();
                (0, 1500)
            }
            Fault::Engine => {
                world.engine.kill();
                (0, 4000)
            }
            Fault::Postgres => {
                world.postgres.as_ref().expect("it is there if it may be killed").kill();
                (0, 3000)
            }
            Fault::Kill | Fault::Remove => {
                let verb: &[&str] = if fault == Fault::Kill { &["kill"] } else { &["rm", "-f"] };
                let containers = world.running_containers();
                let Some(id) = self.dice.pick(&containers) else { return };
                world.docker(&[verb, &[id]].concat());
                (0, 0)
            }
            Fault::Disk => {
                world.disk.fill();
                (500, 4000)
            }
            Fault::Clock => {
                let hour = 3_600_000;
                world.set_clock(if self.dice.roll(3) == 0 { -hour } else { hour });
                (500, 6000)
            }
            Fault::Slow => {
                world.proxy.late(Duration::from_millis(50 + self.dice.roll(400)));
                self.lasting.remove(&Fault::Stall);
                (1000, 6000)
            }
            Fault::Cut => {
                world.proxy.cut(&mut self.dice, 60);
                (0, 0)
            }
            Fault::Stall => {
                world.proxy.stall();
                self.lasting.remove(&Fault::Slow);
                (500, 12_000)
            }
        };
        let length = Duration::from_millis(least + (most - least) * lasts / 1000);
        self.lasting.insert(fault, Instant::now() + length);
        *self.done.faults.entry(fault).or_default() += 1;
    }

    fn end(&mut self, fault: Fault) {
        let world = self.world;
        match fault {
            Fault::Server => self.start_server(),
            Fault::Engine => world.engine.launch(),
            Fault::Postgres => drop(world.postgres.as_ref().map(|p| p.run("start"))),
            Fault::Disk => world.disk.free(),
            Fault::Clock => world.set_clock(0),
            Fault::Slow | Fault::Stall => world.proxy.full_pace(),
            Fault::Kill | Fault::Remove | Fault::Cut => {}
        }
    }

    fn start_server(&mut self) {
        self.server_since = Instant::now();
        self.came_up = self.times_up();
        self.world.rig.start(None);
    }

    /// How often the server has said that it listens.
    fn times_up(&self) -> usize {
        let log = std::fs::read_to_string(self.world.rig.log_path()).unwrap_or_default();
        log.matches(" listens on ").count()
    }

    /// What a service manager does: starts again what has ended.
    fn supervise(&mut self) {
        if let Some(status) = self.world.rig.exit_status() {
            use std::os::unix::process::ExitStatusExt as _;
            // It does not start without its database, and says so.
            let was_away = |fault: &Fault| {
                let ended = self.ended.get(fault).is_some_and(|at| *at >= self.server_since);
                self.lasting.contains_key(fault) || ended
            };
            let excused = [Fault::Postgres, Fault::Disk].iter().any(was_away);
            let was_up = self.times_up() > self.came_up;
            if status.signal().is_some() || was_up || !excused {
                self.done.deaths.push(format!("the server ended by itself: {status}"));
            }
            // Not at once, as systemd would not.
            self.lasting.insert(Fault::Server, Instant::now() + Duration::from_millis(300));
        }
        if self.world.engine.has_died() && !self.lasting.contains_key(&Fault::Engine) {
            self.world.engine.kill();
            self.lasting.insert(Fault::Engine, Instant::now() + Duration::from_millis(300));
        }
    }
}
