//! State that outlives a snapshot, found again by identity.
//!
//! While a snapshot is built, whatever must survive the last one (pools, health, breakers, tickets) is asked
//! for here by kind and name. Who holds the answer keeps it alive; when the last holder is gone, so is
//! the state. This belongs to who builds, never to the request path.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Kept state by kind and name. Holds nothing alive itself.
///
/// The type of the state is part of its identity: the same name with another type is other state.
#[derive(Default)]
pub struct Keep {
    table: Mutex<Table>,
}

type Kept = Weak<dyn Any + Send + Sync>;

/// State that goes along when another process takes over.
pub trait Carry {
    /// All that is worth keeping, as text. The next process may be of another version and may not understand it.
    fn save(&self) -> String;
}

/// Saved state: of what kind, whose, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What [`Carry::save`] said.
    pub text: String,
}

type State = Arc<dyn Any + Send + Sync>;
type Save = fn(&(dyn Any + Send + Sync)) -> Option<String>;
type Held = (Save, &'static str, Box<str>, State);

#[derive(Default)]
struct Table {
    kinds: HashMap<(TypeId, &'static str), HashMap<Box<str>, Kept>>,
    /// How state of a kind is saved, for those that are.
    saves: HashMap<(TypeId, &'static str), Save>,
    /// What the process before saved, until it is asked for.
    carried: HashMap<String, HashMap<String, String>>,
    /// Entries in all kinds, dead ones too.
    entries: usize,
    /// At so many entries the dead ones are cleared out: twice what was left the last time, so that each
    /// new entry pays for a constant number of looks.
    purge_at: usize,
}

/// Below this it is not worth looking for dead entries.
const PURGE_LEAST: usize = 64;

impl Keep {
    /// An empty one.
    #[must_use]
    pub fn new() -> Keep {
        Keep::default()
    }

    /// The state of that kind and name, made now if nobody holds it. `make` may ask for other state.
    pub fn get<T: Any + Send + Sync>(
        &self,
        kind: &'static str,
        name: &str,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        match self.try_get(kind, name, || Ok::<T, Infallible>(make())) {
            Ok(state) => state,
            Err(never) => match never {},
        }
    }

    /// As [`Keep::get`], for state whose making can fail; a failure is not kept.
    ///
    /// # Errors
    /// That of `make`.
    pub fn try_get<T: Any + Send + Sync, E>(
        &self,
        kind: &'static str,
        name: &str,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(state) = self.table().find(kind, name) {
            return Ok(state);
        }
        // Not under the lock: `make` may be slow, may fail, and may come back here.
        let made = Arc::new(make()?);
        let mut table = self.table();
        // Another thread may have been faster; then its state is the one.
        if let Some(state) = table.find(kind, name) {
            return Ok(state);
        }
        table.put(kind, name, &made);
        Ok(made)
    }

    /// As [`Keep::try_get`], for state that goes along when another process takes over: `make` is given what the process
    /// before saved of it, if it did.
    ///
    /// # Errors
    /// That of `make`.
    pub fn try_carried<T: Carry + Any + Send + Sync, E>(
        &self,
        kind: &'static str,
        name: &str,
        make: impl FnOnce(Option<&str>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let saved = {
            let mut table = self.table();
            table.saves.entry((TypeId::of::<T>(), kind)).or_insert(|it| Some(it.downcast_ref::<T>()?.save()));
            table.carried.get(kind).and_then(|names| names.get(name)).cloned()
        };
        self.try_get(kind, name, || make(saved.as_deref()))
    }

    /// As [`Keep::try_carried`], for state whose making cannot fail.
    pub fn carried<T: Carry + Any + Send + Sync>(
        &self,
        kind: &'static str,
        name: &str,
        make: impl FnOnce(Option<&str>) -> T,
    ) -> Arc<T> {
        match self.try_carried(kind, name, |saved| Ok::<T, Infallible>(make(saved))) {
            Ok(state) => state,
            Err(never) => match never {},
        }
    }

    /// What the next process should know.
    #[must_use]
    pub fn save(&self) -> Vec<Carried> {
        // Not under the lock: saving is somebody else's code.
        let mut all: Vec<Held> = Vec::new();
        {
            let table = self.table();
            for (key, save) in &table.saves {
                let names = table.kinds.get(key).into_iter().flatten();
                all.extend(
                    names.filter_map(|(name, kept)| Some((*save, key.1, name.clone(), kept.upgrade()?))),
                );
            }
        }
        let carried = |(save, kind, name, it): Held| {
            Some(Carried { kind: kind.to_owned(), name: name.into_string(), text: save(&*it)? })
        };
        all.into_iter().filter_map(carried).collect()
    }

    /// Takes what the process before saved; who asks for such state gets it until [`Keep::settle`].
    pub fn carry(&self, saved: Vec<Carried>) {
        let mut table = self.table();
        for Carried { kind, name, text } in saved {
            table.carried.entry(kind).or_default().insert(name, text);
        }
    }

    /// Forgets what the process before saved: what is made from now on is new.
    pub fn settle(&self) {
        self.table().carried = HashMap::new();
    }

    /// Clears out what nobody holds any more. Also happens by itself, now and then, as entries are added.
    pub fn purge(&self) {
        self.table().purge();
    }

    /// Number of states that somebody holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().kinds.values().flat_map(HashMap::values).filter(|kept| kept.strong_count() > 0).count()
    }

    /// True if nobody holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code of others runs under the lock, so a poisoned table is still a sound one.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn find<T: Any + Send + Sync>(&self, kind: &'static str, name: &str) -> Option<Arc<T>> {
        self.kinds.get(&(TypeId::of::<T>(), kind))?.get(name)?.upgrade()?.downcast().ok()
    }

    fn put<T: Any + Send + Sync>(&mut self, kind: &'static str, name: &str, state: &Arc<T>) {
        if self.entries >= self.purge_at.max(PURGE_LEAST) {
            self.purge();
        }
        let kept: Kept = Arc::<T>::downgrade(state);
        let names = self.kinds.entry((TypeId::of::<T>(), kind)).or_default();
        if names.insert(name.into(), kept).is_none() {
            self.entries += 1;
        }
    }

    fn purge(&mut self) {
        for names in self.kinds.values_mut() {
            names.retain(|_, kept| kept.strong_count() > 0);
            if names.capacity() > 4 * names.len() {
                names.shrink_to_fit();
            }
        }
        self.kinds.retain(|_, names| !names.is_empty());
        self.entries = self.kinds.values().map(HashMap::len).sum();
        self.purge_at = 2 * self.entries;
    }
}

#[cfg(test)]
mod tests;
