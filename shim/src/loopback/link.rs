//! What the two ends ask of the wire.

use lastbyte::Instant;

use super::{Direction, FrameEvent, World};

impl World {
    /// When the last frame now on its way in this direction arrives.
    pub(super) fn last_due(&self, direction: Direction) -> Option<Instant> {
        self.inner.wire.borrow().last_due(direction)
    }

    pub(super) fn buffer(&self, len: usize) -> Vec<u8> {
        self.inner.wire.borrow_mut().buffer(len)
    }

    pub(super) fn recycle(&self, frame: Vec<u8>) {
        self.inner.wire.borrow_mut().recycle(frame);
    }

    /// Whether the direction takes a frame. An end that is told no is woken
    /// when there is room again.
    pub(super) fn may_send(&self, direction: Direction) -> bool {
        let has_room = self.inner.wire.borrow().has_room(direction);
        if !has_room {
            self.inner.refused[direction.index()].set(true);
        }
        has_room
    }

    /// Whether an end waits for room in this direction.
    pub(super) fn is_refused(&self, direction: Direction) -> bool {
        self.inner.refused[direction.index()].get()
    }

    /// Whether a frame waits at the far end of this direction.
    pub(super) fn has_arrived(&self, direction: Direction) -> bool {
        self.inner.wire.borrow().has_arrived(direction)
    }

    pub(super) fn take_frame(&self, direction: Direction) -> Option<Vec<u8>> {
        let frame = self.inner.wire.borrow_mut().take(direction)?;
        self.inner.spins.set(0);
        Some(frame)
    }

    /// Hands a frame to the wire.
    pub(super) fn transmit(&self, direction: Direction, frame: Vec<u8>) {
        let dropped = self.inner.drops[direction.index()]
            .borrow_mut()
            .drops(&frame);
        let arrives_at = self.now() + self.inner.latency[direction.index()].get();
        let number = self
            .inner
            .wire
            .borrow_mut()
            .count(direction, frame.len(), dropped);
        self.inner.spins.set(0);
        self.tell_observers(&FrameEvent {
            number,
            sent_at: self.now(),
            arrives_at,
            direction,
            dropped,
            medium: self.inner.config.medium,
            frame: &frame,
        });
        let mut wire = self.inner.wire.borrow_mut();
        if dropped {
            wire.recycle(frame);
        } else {
            wire.push(arrives_at, number, direction, frame);
        }
    }

    fn tell_observers(&self, event: &FrameEvent<'_>) {
        // Taken out, so that an observer may add another.
        let mut observers = self.inner.observers.take();
        for observer in &mut observers {
            observer(self, event);
        }
        let added = self.inner.observers.take();
        observers.extend(added);
        self.inner.observers.replace(observers);
    }
}
