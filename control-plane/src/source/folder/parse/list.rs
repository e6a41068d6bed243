//! `kind: List` and its typed relatives.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::{
    Broken, HeadMeta, Located, Parsed,
    kind::{self, Wanted, wanted},
    yaml::Yaml,
};
use crate::translate::{Object, ObjectKind};

/// A list is read again after each broken item. Whoever has more of them than this has other worries.
const MAX_BROKEN_ITEMS: usize = 16;

#[derive(Deserialize)]
struct ListHead {
    items: Option<Vec<Spanned<ItemHead>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemHead {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<HeadMeta>,
}

/// Reads the items one by one; those of a typed list need not say their kind.
pub(super) fn read_list(
    yaml: &Yaml<'_>,
    kind_of_list: Option<ObjectKind>,
    parsed: &mut Parsed,
) -> Result<(), Located<Broken>> {
    let list = yaml.read::<ListHead>().map_err(|broken| broken.taken_for("a valid List"))?;
    let items = list.items.unwrap_or_default();
    let line_of = |item: &Spanned<ItemHead>| yaml.line(item.referenced);
    let plan = items.iter().map(|item| {
        kind_of_item(&item.value, kind_of_list).unwrap_or_else(|reason| {
            parsed.problems.push(Broken::at(line_of(item), reason));
            None
        })
    });
    let mut reading = Reading { plan: plan.collect(), next: 0, objects: Vec::new() };
    for _ in 0..MAX_BROKEN_ITEMS {
        let Err(broken) = reading.go_on(yaml) else { break };
        parsed.problems.push(reading.blame(broken, &items));
        reading.next += 1;
    }
    if let Some(item) = items.get(reading.next) {
        let reason = format!("{MAX_BROKEN_ITEMS} items before this one are broken: mend them for the rest to be read");
        parsed.problems.push(Broken::at(line_of(item), reason));
    }
    for (item, object) in reading.objects.into_iter().filter_map(|(index, object)| Some((items.get(index)?, object))) {
        let line = line_of(item);
        match kind::complete(object) {
            Ok(value) => parsed.objects.push(Located { line, value }),
            Err(reason) => parsed.problems.push(Broken::at(line, reason)),
        }
    }
    Ok(())
}

fn kind_of_item(item: &ItemHead, kind_of_list: Option<ObjectKind>) -> Result<Option<ObjectKind>, String> {
    match (kind_of_list, item.kind.as_deref()) {
        (Some(kind), None) => Ok(Some(kind)),
        (Some(kind), Some(named)) if item.api_version.is_none() && named == kind.as_str() => Ok(Some(kind)),
        (_, named) => Ok(match wanted(item.api_version.as_deref(), named)? {
            Some(Wanted::Object(kind)) => Some(kind),
            Some(Wanted::ListOf(_)) | None => None,
        }),
    }
}

/// How far the items have been read.
struct Reading {
    /// The kind of each item; `None` for those to be skipped.
    plan: Vec<Option<ObjectKind>>,
    /// The next item to read; after an error, the broken one.
    next: usize,
    objects: Vec<(usize, Object)>,
}

impl Reading {
    fn go_on(&mut self, yaml: &Yaml<'_>) -> Result<(), Located<Broken>> {
        if self.next >= self.plan.len() {
            return Ok(());
        }
        yaml.read_with(|deserializer| ListSeed(self).deserialize(deserializer))
    }

    fn blame(&self, broken: Located<Broken>, items: &[Spanned<ItemHead>]) -> Located<Broken> {
        let kind = self.plan.get(self.next).copied().flatten();
        match items.get(self.next).zip(kind) {
            Some((item, kind)) => {
                let object = item.value.metadata.as_ref().and_then(|metadata| metadata.key(kind));
                broken.taken_for(&format!("a valid {kind}")).names(object)
            }
            None => broken.taken_for("a valid List"),
        }
    }
}

struct ListSeed<'a>(&'a mut Reading);
struct ItemsSeed<'a>(&'a mut Reading);
struct ItemSeed(ObjectKind);

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                map.next_value_seed(ItemsSeed(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let start = self.0.next;
        for index in 0..self.0.plan.len() {
            match self.0.plan[index].filter(|_| index >= start) {
                Some(kind) => {
                    self.0.next = index;
                    let object = items.next_element_seed(ItemSeed(kind))?;
                    self.0.objects.extend(object.map(|object| (index, object)));
                }
                None => {
                    items.next_element::<IgnoredAny>()?;
                }
            }
        }
        self.0.next = self.0.plan.len();
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ItemSeed {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        kind::read(self.0, deserializer)
    }
}
