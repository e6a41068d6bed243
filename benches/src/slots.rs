//! Places with numbers: a freed one is taken again, so that numbers stay small.

/// Values, each with the number that it was given.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Takes a value in, under the number that it returns.
    pub(crate) fn insert(&mut self, value: T) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(value);
        place
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_mut()
    }

    pub(crate) fn remove(&mut self, place: usize) {
        if self.places.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_freed_place_is_taken_again() {
        let mut slots = Slots::default();
        assert_eq!((slots.insert('a'), slots.insert('b')), (0, 1));
        slots.remove(0);
        slots.remove(0);
        assert_eq!(slots.get_mut(0), None);
        assert_eq!((slots.insert('c'), slots.insert('d')), (0, 2));
        assert_eq!(slots.get_mut(0), Some(&mut 'c'));
    }
}
