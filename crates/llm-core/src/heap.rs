//! Large values on the heap.

/// What `make` makes, on the heap and made there.
///
/// `Box::new` is given its value on the stack and copies it, all of it: of a future that has not begun that is its
/// arguments and the room for everything else. The compiler leaves the copy out only where nothing would have to be dropped
/// if there were no memory.
#[inline]
pub fn boxed<T>(make: impl FnOnce() -> T) -> Box<T> {
    let place = Box::new_uninit();
    Box::write(place, make())
}
