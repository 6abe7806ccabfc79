//! **One flight**: any number of readers of a missing object cause one request for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use bonsaifs::git::oid::Oid;

use super::Check;

pub const NAME: &str = "one flight";

/// How much of the rule can be asked of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Memory is too small to hold what was fetched: an object may be missing again at once.
    Forgetful,
    /// No two requests at once want the same object.
    OneAtATime,
    /// Nothing fails and nothing is evicted: an object is asked for once in a mount's life, however
    /// often it is unmounted and mounted again. Only what a large object kept from coming may be asked for
    /// again: a prefetch that meets one is broken off.
    OnceForAll,
}

/// Sees one mount's requests for objects.
pub struct OneFlight {
    rule: Rule,
    /// What is wanted now, by exchange, and whether trees come with all that is below them: such a request is
    /// another one than for the tree alone, which somebody waits for.
    open: BTreeMap<u64, (bool, Vec<Oid>)>,
    /// What was asked for and not kept from coming, by processes before this one too.
    ever: Arc<Mutex<BTreeSet<Oid>>>,
    /// Objects that are too large to be prefetched.
    large: BTreeSet<Oid>,
    /// Those of them that broke a prefetch off: from then on only those who want them ask. A process after this one
    /// does not know of it.
    broke: BTreeSet<Oid>,
    /// Those that did so again.
    twice: BTreeSet<Oid>,
}

impl OneFlight {
    /// `ever` is shared by all processes of a mount; `large` are the objects that are too large to be
    /// prefetched.
    pub fn new(rule: Rule, ever: Arc<Mutex<BTreeSet<Oid>>>, large: BTreeSet<Oid>) -> Self {
        Self {
            rule,
            open: BTreeMap::new(),
            ever,
            large,
            broke: BTreeSet::new(),
            twice: BTreeSet::new(),
        }
    }

    /// A request for `wants` goes out, `deep` if for all that is below them too.
    pub fn begin(&mut self, exchange: u64, deep: bool, wants: Vec<Oid>) -> Check {
        let check = self.judge(deep, &wants);
        self.ever().extend(&wants);
        self.open.insert(exchange, (deep, wants));
        check
    }

    fn judge(&self, deep: bool, wants: &[Oid]) -> Check {
        for oid in wants {
            let is_same = |open: &(bool, Vec<Oid>)| open.0 == deep && open.1.contains(oid);
            if self.rule != Rule::Forgetful && self.open.values().any(is_same) {
                return Err(format!("{oid} is asked for while a request for it is out"));
            }
            let was_asked = || self.ever().contains(oid) || self.twice.contains(oid);
            if self.rule == Rule::OnceForAll && was_asked() {
                return Err(format!("{oid} is asked for again, and nothing had failed"));
            }
        }
        Ok(())
    }

    fn ever(&self) -> MutexGuard<'_, BTreeSet<Oid>> {
        self.ever.lock().expect("a set that is only added to")
    }

    /// It is over; `dropped` if the mount itself broke it off, `ahead` if nobody had asked for what it
    /// was for. True if it was broken off for a large object. For its size one may be asked for more
    /// than once, and not only there.
    pub fn end(&mut self, exchange: u64, dropped: bool, ahead: bool) -> bool {
        let (_, wants) = self.open.remove(&exchange).unwrap_or_default();
        if dropped && let Some(first) = wants.iter().position(|oid| self.large.contains(oid)) {
            // The server sends in the order asked: what stands before the first large one came.
            if ahead && !self.broke.insert(wants[first]) {
                self.twice.insert(wants[first]);
            }
            let mut ever = self.ever();
            wants[first..].iter().for_each(|oid| {
                ever.remove(oid);
            });
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::encode;

    fn oid(text: &str) -> Oid {
        encode::id(bonsaifs::git::oid::ObjectKind::Blob, text.as_bytes())
    }

    #[test]
    fn a_second_request_for_the_same_object_is_seen() {
        for (rule, at_once, later) in [
            (Rule::Forgetful, true, true),
            (Rule::OneAtATime, false, true),
            (Rule::OnceForAll, false, false),
        ] {
            let ever = Arc::default();
            let mut flights = OneFlight::new(rule, Arc::clone(&ever), BTreeSet::new());
            assert_eq!(flights.begin(1, false, vec![oid("a"), oid("b")]), Ok(()));
            assert_eq!(flights.begin(2, false, vec![oid("c")]), Ok(()));
            assert_eq!(flights.begin(3, false, vec![oid("b")]).is_ok(), at_once);
            (1..=3).for_each(|exchange| assert!(!flights.end(exchange, exchange == 1, false)));
            assert_eq!(flights.begin(4, false, vec![oid("a")]).is_ok(), later);
            let mut remounted = OneFlight::new(rule, ever, BTreeSet::new());
            assert_eq!(remounted.begin(1, false, vec![oid("c")]).is_ok(), later);
        }
    }

    #[test]
    fn a_tree_and_all_that_is_below_it_are_two_requests() {
        let mut flights = OneFlight::new(Rule::OneAtATime, Arc::default(), BTreeSet::new());
        assert_eq!(flights.begin(1, false, vec![oid("a")]), Ok(()));
        assert_eq!(flights.begin(2, true, vec![oid("a"), oid("b")]), Ok(()));
        assert!(flights.begin(3, true, vec![oid("b")]).is_err());
        assert!(flights.begin(4, false, vec![oid("a")]).is_err());
    }

    #[test]
    fn only_what_a_large_object_kept_from_coming_may_be_asked_for_again() {
        let [a, large, b] = ["a", "large", "b"].map(oid);
        let mut flights = OneFlight::new(Rule::OnceForAll, Arc::default(), [large].into());
        assert_eq!(flights.begin(1, false, vec![a, large, b]), Ok(()));
        assert!(flights.end(1, true, true));
        assert!(flights.begin(2, false, vec![a]).is_err());
        assert_eq!(flights.begin(3, false, vec![b, large]), Ok(()));
        assert!(!flights.end(3, false, false));
        assert!(flights.begin(4, false, vec![b]).is_err());
        assert!(flights.begin(5, false, vec![large]).is_err());
    }

    #[test]
    fn a_large_object_that_breaks_off_one_prefetch_after_the_other_is_seen() {
        let [large, b] = ["large", "b"].map(oid);
        let ever = Arc::default();
        let process = || OneFlight::new(Rule::OnceForAll, Arc::clone(&ever), [large].into());
        let mut flights = process();
        for exchange in 1..=2 {
            assert_eq!(flights.begin(exchange, false, vec![large, b]), Ok(()));
            assert!(flights.end(exchange, true, true));
        }
        let mut remounted = process();
        let asked = remounted.begin(1, false, vec![large]);
        assert_eq!(asked, Ok(()), "it can't know");
        assert!(remounted.end(1, true, true));
        assert!(flights.begin(3, false, vec![large, b]).is_err());
    }
}
