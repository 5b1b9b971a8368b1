//! The slots that have a word.

/// Slots in their order, with how often each has the word, in blocks, so that one in the middle is put in quickly.
#[derive(Default)]
pub(super) struct Postings {
    blocks: Vec<Block>,
    len: u32,
}

/// Never empty.
struct Block {
    slots: Vec<u32>,
    /// At most 255.
    counts: Vec<u8>,
}

/// Most slots of a block.
const MOST: usize = 256;

impl Postings {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u8)> {
        self.blocks.iter().flat_map(|block| block.slots.iter().copied().zip(block.counts.iter().copied()))
    }

    /// Puts in a slot that is not there.
    pub(super) fn insert(&mut self, slot: u32, count: u32) {
        let count = count.min(u32::from(u8::MAX)) as u8;
        self.len += 1;
        let mut at = self.block_of(slot);
        if at == self.blocks.len() {
            if self.blocks.last().is_none_or(|last| last.slots.len() == MOST) {
                self.blocks.reserve_exact(usize::from(self.blocks.is_empty()));
                self.blocks.push(Block { slots: vec![slot], counts: vec![count] });
                return;
            }
            at -= 1;
        } else if self.blocks[at].slots.len() == MOST {
            let block = &mut self.blocks[at];
            let (slots, counts) = (block.slots.split_off(MOST / 2), block.counts.split_off(MOST / 2));
            let is_after = block.slots.last().is_some_and(|last| *last < slot);
            self.blocks.insert(at + 1, Block { slots, counts });
            at += usize::from(is_after);
        }
        let block = &mut self.blocks[at];
        let to = block.slots.partition_point(|has| *has < slot);
        block.slots.insert(to, slot);
        block.counts.insert(to, count);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let at = self.block_of(slot);
        let Some(block) = self.blocks.get_mut(at) else { return };
        let Ok(found) = block.slots.binary_search(&slot) else { return };
        self.len -= 1;
        block.slots.remove(found);
        block.counts.remove(found);
        let left = block.slots.len();
        let next = self.blocks.get(at + 1).map_or(MOST, |next| next.slots.len());
        if left == 0 {
            self.blocks.remove(at);
        } else if left + next <= MOST / 4 {
            // Blocks don't stay nearly empty.
            let next = self.blocks.remove(at + 1);
            self.blocks[at].slots.extend(next.slots);
            self.blocks[at].counts.extend(next.counts);
        }
    }

    /// The block that has a slot, or would.
    fn block_of(&self, slot: u32) -> usize {
        let is_before = |block: &Block| block.slots.last().is_some_and(|last| *last < slot);
        // Most are put in at the end: an index is built in the order of slots.
        if self.blocks.last().is_none_or(is_before) {
            return self.blocks.len();
        }
        self.blocks.partition_point(is_before)
    }
}
