//! Reads JSON objects into structs that are there already.
//!
//! A chunk of a stream has few fields that matter among many, nested three deep. Derived code builds each level and moves
//! it into the next, which costs more than the reading; filling in place moves nothing. It is also more forgiving: null
//! is the same as missing, and of a key that is there twice the last one holds.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::raw::Raw;

/// What can be filled from a JSON value.
pub(super) trait Fill<'de> {
    /// Reads the value into this.
    fn fill<D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error>;
}

/// What can be filled from a JSON object.
pub(super) trait Fields<'de> {
    /// Reads the value that stands under this key, or skips it with [`skip`].
    fn field<A: MapAccess<'de>>(&mut self, key: &str, value: &mut A) -> Result<(), A::Error>;
}

/// Implements [`Fields`] for a struct: which key goes into which field.
macro_rules! fields {
    ($name:ident { $($key:literal => $field:ident),+ $(,)? }) => {
        impl<'de> Fields<'de> for $name<'de> {
            fn field<A: MapAccess<'de>>(&mut self, key: &str, value: &mut A) -> Result<(), A::Error> {
                match key {
                    $($key => value.next_value_seed(Seed(&mut self.$field)),)+
                    _ => skip(value),
                }
            }
        }
    };
}
pub(super) use fields;

/// Skips a value that nobody wants.
pub(super) fn skip<'de, A: MapAccess<'de>>(value: &mut A) -> Result<(), A::Error> {
    value.next_value::<IgnoredAny>().map(|_| ())
}

/// Fills what it refers to.
pub(super) struct Seed<'s, T>(pub(super) &'s mut T);

impl<'de, T: Fill<'de>> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.fill(from)
    }
}

impl<'de> Fill<'de> for Raw<'de> {
    fn fill<D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        *self = Raw::deserialize(from)?;
        Ok(())
    }
}

/// A key, copied only if it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct ObjectVisitor<'s, T>(&'s mut T);

impl<'de, T: Fields<'de>> Visitor<'de> for ObjectVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            self.0.field(&key, &mut map)?;
        }
        Ok(())
    }
}

impl<'de, T: Fields<'de>> Fill<'de> for T {
    fn fill<D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(ObjectVisitor(self))
    }
}

/// A list that nearly always has one item, which then needs no allocation.
#[derive(Debug)]
pub(super) struct Few<T> {
    first: Option<T>,
    rest: Vec<T>,
    given: bool,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { first: None, rest: Vec::new(), given: false }
    }
}

impl<T> Few<T> {
    /// The items in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    /// Whether there was a list at all, be it an empty one.
    pub(super) fn is_given(&self) -> bool {
        self.given
    }
}

struct ListVisitor<'s, T>(&'s mut Few<T>);

impl<'de, T: Fill<'de> + Default> Visitor<'de> for ListVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.given = true;
        self.0.rest.clear();
        if items.next_element_seed(Seed(self.0.first.insert(T::default())))?.is_none() {
            self.0.first = None;
            return Ok(());
        }
        loop {
            let mut item = T::default();
            if items.next_element_seed(Seed(&mut item))?.is_none() {
                return Ok(());
            }
            self.0.rest.push(item);
        }
    }
}

impl<'de, T: Fill<'de> + Default> Fill<'de> for Few<T> {
    fn fill<D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(ListVisitor(self))
    }
}
