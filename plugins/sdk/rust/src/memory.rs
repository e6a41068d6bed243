//! The allocator of a policy. An update is thousands of small strings and lists that come and go together, and what it costs
//! to allocate them is most of what an update costs.
//!
//! Sizes are rounded up, to powers of two and above a page to quarters of these. Each size has a list of free blocks; what is
//! not in one is taken from fresh memory. Both are a few instructions. Blocks are never split or merged: an update needs the
//! same sizes as the one before it, so memory settles at the largest update, rounded up.
#![allow(unsafe_code, reason = "an allocator hands out memory")]

use core::{
    alloc::{GlobalAlloc, Layout},
    arch::wasm32::{memory_grow, memory_size},
    cell::UnsafeCell,
    ptr::null_mut,
};

/// Blocks have at least so many bytes, enough for the link of a free one.
const SMALLEST: usize = 8;

/// What every block is aligned to, if it is as large as that. Who wants more gets fresh memory each time.
const ALIGNMENT: usize = 16;

const PAGE: usize = 65_536;

/// One list for each power of two up to a page, four for each beyond.
const LISTS: usize = 17 + 4 * 16;

/// An instance's memory.
pub(crate) struct Memory(UnsafeCell<Lists>);

struct Lists {
    /// The first free block of each size, which begins with the address of the next.
    free: [*mut u8; LISTS],
    /// The memory that nobody has had yet; its end is 0 before the first use.
    fresh: usize,
    fresh_end: usize,
}

// SAFETY: an instance has one thread.
unsafe impl Sync for Memory {}

impl Memory {
    /// No memory yet.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Lists { free: [null_mut(); LISTS], fresh: 0, fresh_end: 0 }))
    }
}

/// The block that a layout gets: how many bytes, and which list it belongs to.
fn block_for(layout: Layout) -> (usize, usize) {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    let power = size.next_power_of_two();
    let log = power.trailing_zeros() as usize;
    if size <= PAGE {
        return (power, log);
    }
    let quarter = power / 8;
    let size = size.next_multiple_of(quarter);
    (size, 17 + (log - 17) * 4 + size / quarter - 5)
}

// SAFETY: the blocks of one list have the same size, which is enough for every layout that gets one; what is handed out is in no
// list, and fresh memory is handed out once.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, list) = block_for(layout);
        // SAFETY: nobody else has a reference: the instance has one thread, and nothing here calls out.
        let lists = unsafe { &mut *self.0.get() };
        let block = lists.free[list];
        if block.is_null() || layout.align() > ALIGNMENT {
            return lists.fetch(size, layout.align().max(size.min(ALIGNMENT)));
        }
        // SAFETY: a free block begins with the address of the next.
        lists.free[list] = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (_, list) = block_for(layout);
        // SAFETY: as in `alloc`; the block is ours again and has room for an address.
        unsafe {
            let lists = &mut *self.0.get();
            block.cast::<*mut u8>().write(lists.free[list]);
            lists.free[list] = block;
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches for the size.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if block_for(wanted) == block_for(layout) {
            return block;
        }
        // SAFETY: two blocks do not overlap, and both have that many bytes.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                core::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

impl Lists {
    /// Fresh memory; null if there is none left.
    fn fetch(&mut self, size: usize, align: usize) -> *mut u8 {
        if self.fresh_end == 0 {
            self.fresh = &raw const __heap_base as usize;
            self.fresh_end = memory_size::<0>() * PAGE;
        }
        let start = self.fresh.next_multiple_of(align);
        let Some(end) = start.checked_add(size) else { return null_mut() };
        if end > self.fresh_end {
            let pages = (end - self.fresh_end).div_ceil(PAGE);
            let grown = memory_grow::<0>(pages);
            if grown == usize::MAX {
                return null_mut();
            }
            if grown * PAGE != self.fresh_end {
                // Somebody else has grown the memory in between; that part is theirs.
                (self.fresh, self.fresh_end) = (grown * PAGE, (grown + pages) * PAGE);
                return self.fetch(size, align);
            }
            self.fresh_end += pages * PAGE;
        }
        self.fresh = end;
        start as *mut u8
    }
}

// Where the linker lets memory begin that is nobody's; only its address is ever taken.
unsafe extern "C" {
    static __heap_base: u8;
}
