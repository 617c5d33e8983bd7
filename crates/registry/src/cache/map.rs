//! An ordered map from keys to objects whose copies are cheap: copies share chunks, and a change copies one chunk.

use std::sync::Arc;

use meta::Object;
use store::Key;

/// A chunk that grows past this is split in two. Small, since each change next to a live copy clones one chunk.
const MAX_CHUNK: usize = 64;

type Entry = (Key, Arc<Object>);

/// The map. Chunks are never empty and stand in the order of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    chunks: Arc<Vec<Arc<Vec<Entry>>>>,
    len: usize,
}

impl Map {
    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The object at `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        let (chunk, found) = self.find(key);
        found.ok().map(|at| &self.chunks[chunk][at].1)
    }

    /// Sets `key`, and answers what was there.
    pub(crate) fn insert(&mut self, key: Key, object: Arc<Object>) -> Option<Arc<Object>> {
        let (index, found) = self.find(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[index]);
        match found {
            Ok(at) => Some(std::mem::replace(&mut chunk[at].1, object)),
            Err(at) => {
                chunk.insert(at, (key, object));
                self.len += 1;
                if chunk.len() > MAX_CHUNK {
                    // Keys that only grow, as those of generated names do within a batch, leave full chunks behind.
                    let half = if at == MAX_CHUNK { MAX_CHUNK } else { MAX_CHUNK / 2 };
                    let tail = chunk.split_off(half);
                    chunks.insert(index + 1, Arc::new(tail));
                }
                None
            }
        }
    }

    /// Removes `key`, and answers what was there.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        let (index, found) = self.find(key);
        let at = found.ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let (_, object) = Arc::make_mut(&mut chunks[index]).remove(at);
        self.len -= 1;
        if chunks[index].is_empty() {
            chunks.remove(index);
        } else if index + 1 < chunks.len() && chunks[index].len() + chunks[index + 1].len() < MAX_CHUNK / 2 {
            let next = chunks.remove(index + 1);
            Arc::make_mut(&mut chunks[index]).extend(next.iter().cloned());
        }
        Some(object)
    }

    /// The entries from `start` on, in order.
    pub(crate) fn from(&self, start: &str) -> impl Iterator<Item = &Entry> {
        let (index, found) = self.find(start);
        let at = found.unwrap_or_else(|at| at);
        let first = self.chunks.get(index).map_or(&[][..], |chunk| &chunk[at..]);
        let rest = self.chunks.iter().skip(index + 1).flat_map(|chunk| chunk.iter());
        first.iter().chain(rest)
    }

    /// The entries whose keys begin with `prefix`, in order.
    pub(crate) fn beneath<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.from(prefix).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The chunk that `key` belongs to, and where it is or would be in there.
    fn find(&self, key: &str) -> (usize, Result<usize, usize>) {
        let after = self.chunks.partition_point(|chunk| chunk.first().is_some_and(|(first, _)| **first <= *key));
        let index = after.saturating_sub(1);
        match self.chunks.get(index) {
            Some(chunk) => (index, chunk.binary_search_by(|(own, _)| (**own).cmp(key))),
            None => (0, Err(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn object(revision: u64) -> Arc<Object> {
        let value = json!({"kind": "A", "apiVersion": "v1", "metadata": {"name": "a"}});
        Arc::new(Object::stored(&meta::encode_object(&value), revision).expect("an object"))
    }

    fn check(map: &Map, model: &BTreeMap<String, u64>) {
        let entries: Vec<(String, u64)> =
            map.from("").map(|(key, object)| (key.to_string(), object.revision)).collect();
        let expected: Vec<(String, u64)> = model.iter().map(|(key, revision)| (key.clone(), *revision)).collect();
        assert_eq!(entries, expected);
        assert_eq!(map.len(), model.len());
    }

    #[test]
    fn it_is_an_ordered_map_and_its_copies_stand_still() {
        let (mut map, mut model) = (Map::default(), BTreeMap::new());
        let mut copies = Vec::new();
        // A fixed linear congruence: the same keys every run.
        let mut seed = 7_u64;
        for step in 0..4000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = format!("/k/{}", (seed >> 33) % 600);
            if (seed >> 20).is_multiple_of(3) {
                assert_eq!(map.remove(&key).map(|object| object.revision), model.remove(&key));
            } else {
                let before = map.insert(key.as_str().into(), object(step));
                assert_eq!(before.map(|object| object.revision), model.insert(key.clone(), step));
                assert_eq!(map.get(&key).map(|object| object.revision), Some(step));
            }
            if step % 500 == 0 {
                copies.push((map.clone(), model.clone()));
            }
        }
        copies.push((map, model));
        for (map, model) in &copies {
            check(map, model);
            let beneath = map.beneath("/k/1").count();
            assert_eq!(beneath, model.keys().filter(|key| key.starts_with("/k/1")).count());
        }
    }
}
