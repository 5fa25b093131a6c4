//! Places at a provider: so many calls at once, and a bounded queue for the others, in which projects take turns, so that
//! one that sends a thousand calls does not keep another's single one waiting.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ryokan_model::ProjectId;
use tokio::sync::oneshot;

/// What a queue allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) running: u32,
    pub(crate) waiting: u32,
    pub(crate) waiting_per_project: u32,
    pub(crate) wait: Duration,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Too many wait.
    Queue,
    /// The project itself has too many that wait.
    Project,
    /// None became free in time.
    Time,
}

#[derive(Default)]
struct Inside {
    running: u32,
    waiting: u32,
    queues: BTreeMap<ProjectId, VecDeque<oneshot::Sender<Place>>>,
    /// Whose turn it is: each project with somebody waiting is in it once.
    turns: VecDeque<ProjectId>,
}

pub(crate) struct Queue {
    bounds: Bounds,
    inside: Mutex<Inside>,
}

/// A place, given back when it is dropped.
pub(crate) struct Place(Option<Arc<Queue>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.release();
        }
    }
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, inside: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call would have to wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.lock().running >= self.bounds.running
    }

    pub(crate) async fn enter(self: &Arc<Self>, project: ProjectId) -> Result<Place, Full> {
        let mut turn = {
            let mut inside = self.lock();
            if inside.running < self.bounds.running {
                inside.running += 1;
                return Ok(Place(Some(self.clone())));
            }
            // Whoever has given up waiting takes no room.
            inside.forget_gone();
            if inside.waiting >= self.bounds.waiting {
                return Err(Full::Queue);
            }
            let (sender, turn) = oneshot::channel();
            let mine = inside.queues.entry(project).or_default();
            if mine.len() >= self.bounds.waiting_per_project as usize {
                return Err(Full::Project);
            }
            mine.push_back(sender);
            let first = mine.len() == 1;
            inside.waiting += 1;
            if first {
                inside.turns.push_back(project);
            }
            turn
        };
        match tokio::time::timeout(self.bounds.wait, &mut turn).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Full::Queue),
            Err(_) => Err(Full::Time),
        }
    }

    /// Hands a place on to whoever's turn it is.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut inside = self.lock();
                let next = inside.pop();
                if next.is_none() {
                    inside.running -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Place(Some(self.clone()))) {
                Ok(()) => return,
                // Gone meanwhile: the place goes to the next one, and must not be given back besides.
                Err(mut place) => place.0 = None,
            }
        }
    }
}

impl Inside {
    fn pop(&mut self) -> Option<oneshot::Sender<Place>> {
        while let Some(project) = self.turns.pop_front() {
            let Some(queue) = self.queues.get_mut(&project) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&project);
            } else {
                self.turns.push_back(project);
            }
            if let Some(next) = next {
                self.waiting -= 1;
                if next.is_closed() {
                    continue;
                }
                return Some(next);
            }
        }
        None
    }

    fn forget_gone(&mut self) {
        for queue in self.queues.values_mut() {
            queue.retain(|waiting| !waiting.is_closed());
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        let queues = &self.queues;
        self.turns.retain(|project| queues.contains_key(project));
        self.waiting =
            u32::try_from(self.queues.values().map(VecDeque::len).sum::<usize>()).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn project(n: u8) -> ProjectId {
        format!("00000000-0000-0000-0000-0000000000{n:02}").parse().unwrap()
    }

    fn queue(running: u32, waiting: u32, each: u32) -> Arc<Queue> {
        let wait = Duration::from_secs(5);
        Queue::new(Bounds { running, waiting, waiting_per_project: each, wait })
    }

    #[tokio::test]
    async fn projects_take_turns() {
        let queue = queue(1, 100, 50);
        let mut place = queue.enter(project(1)).await.ok();
        // Two projects, of which the first came first, and with more.
        let mut waiting: Vec<_> = [1, 1, 1, 1, 2, 2]
            .into_iter()
            .map(|n| {
                (
                    n,
                    Box::pin({
                        let queue = queue.clone();
                        async move { queue.enter(project(n)).await }
                    }),
                )
            })
            .collect();
        for (_, waits) in &mut waiting {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(place.take());
            let at = waiting.iter_mut().position(|(_, waits)| {
                place = waits.as_mut().now_or_never().and_then(Result::ok);
                place.is_some()
            });
            order.push(waiting.remove(at.expect("somebody's turn")).0);
        }
        assert_eq!(order, [1, 2, 1, 2, 1, 1]);
        drop(place);
        assert!(!queue.is_busy() && queue.lock().waiting == 0 && queue.lock().turns.is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_place() {
        let queue = queue(1, 2, 1);
        let place = queue.enter(project(1)).await.ok();
        let mut first = Box::pin(queue.enter(project(1)));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(queue.enter(project(1)).await.err(), Some(Full::Project));
        let mut second = Box::pin(queue.enter(project(2)));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(queue.enter(project(3)).await.err(), Some(Full::Queue));
        drop(first);
        let mut third = Box::pin(queue.enter(project(3)));
        assert!(third.as_mut().now_or_never().is_none());
        drop(place);
        let place = second.as_mut().now_or_never().expect("its turn").ok();
        assert!(place.is_some() && queue.is_busy());
        drop(third);
        drop(place);
        assert!(!queue.is_busy() && queue.lock().running == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let queue = queue(1, 2, 2);
        let _place = queue.enter(project(1)).await.ok();
        assert_eq!(queue.enter(project(2)).await.err(), Some(Full::Time));
    }
}
