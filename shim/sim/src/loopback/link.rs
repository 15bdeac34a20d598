//! The wire as the two ends use it.

use lastbyte::Instant;

use super::{Direction, Fate, FrameEvent, Loss, Sender, World};

impl World {
    /// When the last frame in flight in this direction arrives.
    pub(super) fn last_due(&self, direction: Direction) -> Option<Instant> {
        self.inner.wire.borrow().last_due(direction)
    }

    pub(super) fn buffer(&self, len: usize) -> Vec<u8> {
        self.inner.wire.borrow_mut().buffer(len)
    }

    pub(super) fn recycle(&self, frame: Vec<u8>) {
        self.inner.wire.borrow_mut().recycle(frame);
    }

    /// Whether the direction accepts a frame. After `false`, the end is woken when there
    /// is room again.
    pub(super) fn may_send(&self, direction: Direction) -> bool {
        let has_room = self.has_room(direction);
        if !has_room {
            self.inner.refused[direction.index()].set(true);
        }
        has_room
    }

    /// Whether the direction has room for a frame.
    pub(super) fn has_room(&self, direction: Direction) -> bool {
        let stands = direction == Direction::ToPeer && self.inner.is_stuck.get();
        !stands && self.inner.wire.borrow().has_room(direction)
    }

    /// Whether an end waits for room in this direction.
    pub(super) fn is_refused(&self, direction: Direction) -> bool {
        self.inner.refused[direction.index()].get()
    }

    /// Whether a frame waits at the far end of this direction.
    pub(super) fn has_arrived(&self, direction: Direction) -> bool {
        self.inner.wire.borrow().has_arrived(direction)
    }

    /// Lends the first frame that waits at the far end of this direction.
    pub(super) fn with_next(&self, direction: Direction, look: impl FnOnce(&mut [u8])) {
        let mut wire = self.inner.wire.borrow_mut();
        if let Some(frame) = wire.next_arrived(direction) {
            look(frame);
        }
    }

    /// Replaces the first frame that waits at the far end.
    pub(super) fn replace_next(&self, direction: Direction, frames: [Vec<u8>; 2]) {
        let mut wire = self.inner.wire.borrow_mut();
        wire.replace_next(direction, frames);
    }

    pub(super) fn take_frame(&self, direction: Direction) -> Option<Vec<u8>> {
        let frame = self.inner.wire.borrow_mut().take(direction)?;
        self.inner.spins.set(0);
        Some(frame)
    }

    /// Sends a frame on the wire.
    pub(super) fn transmit(&self, direction: Direction, frame: Vec<u8>) {
        let fate = self.decide(direction, &frame);
        let is_lost = fate.is_lost();
        let number = {
            let mut wire = self.inner.wire.borrow_mut();
            wire.count(direction, frame.len(), is_lost)
        };
        self.inner.spins.set(0);
        self.notify_observers(&FrameEvent {
            number,
            sent_at: self.now(),
            fate,
            direction,
            sender: Sender::End,
            medium: self.inner.config.medium,
            frame: &frame,
        });
        let mut wire = self.inner.wire.borrow_mut();
        match fate {
            Fate::Lost(_) => wire.recycle(frame),
            Fate::Arrives {
                at,
                again_at,
                damage,
            } => {
                let mut frame = frame;
                if let Some(again_at) = again_at {
                    let mut copy = wire.buffer(frame.len());
                    copy.copy_from_slice(&frame);
                    wire.push(again_at, number, direction, copy);
                }
                if let Some(damage) = damage {
                    damage.apply(&mut frame);
                }
                wire.push(at, number, direction, frame);
            }
        }
    }

    /// Sends a frame from a third host. It arrives at once, whatever the path does to
    /// frames of the ends. [Witnesses](Self::witness) do not see it, observers do.
    pub fn inject(&self, direction: Direction, frame: Vec<u8>) {
        let number = {
            let mut wire = self.inner.wire.borrow_mut();
            wire.count(direction, frame.len(), false)
        };
        self.notify_observers(&FrameEvent {
            number,
            sent_at: self.now(),
            fate: Fate::sound(self.now()),
            direction,
            sender: Sender::Stranger,
            medium: self.inner.config.medium,
            frame: &frame,
        });
        self.inner.wire.borrow_mut().deliver(direction, frame);
    }

    fn decide(&self, direction: Direction, frame: &[u8]) -> Fate {
        let index = direction.index();
        if !self.is_link_up() {
            return Fate::Lost(Loss::Partition);
        }
        if self.inner.drops[index].borrow_mut().drops(frame) {
            return Fate::Lost(Loss::Switched);
        }
        match &mut *self.inner.paths[index].borrow_mut() {
            Some(path) => path.carry(self.now(), frame),
            None => Fate::sound(self.now() + self.inner.latency[index].get()),
        }
    }

    fn notify_observers(&self, event: &FrameEvent<'_>) {
        // The observers are taken out, so that one may add another.
        let mut observers = self.inner.observers.take();
        for observer in &mut observers {
            observer(self, event);
        }
        let added = self.inner.observers.take();
        observers.extend(added);
        self.inner.observers.replace(observers);
    }
}
