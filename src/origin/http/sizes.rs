//! Sizes of objects without their content: `object-info`.

use rustc_hash::FxHashMap;

use super::{Basis, Errand, Failure, Ground, Inner};
use crate::{
    git::{oid::Oid, v2},
    origin::OriginError,
};

/// Servers since git 2.49 take at most this many ids in one request.
const MAX_IDS: usize = 10_000;

/// Requests for sizes in flight at once: with those for objects they stay below the 8 that a host
/// may be asked at a time.
pub(super) const MAX_REQUESTS: usize = 2;

/// The longest answer taken: ids, sizes and framing of one request stay well below.
const ANSWER_LIMIT: usize = 4 << 20;

impl Inner {
    pub(super) async fn sizes(
        &self,
        oids: &[Oid],
    ) -> Result<Option<Vec<Option<u64>>>, OriginError> {
        let Some(first) = oids.first() else {
            return Ok(Some(Vec::new()));
        };
        let mut basis = self.basis(Some(first.kind()));
        if basis.ground == Ground::Assumed {
            // Few servers offer it, so it is not worth a try.
            basis = self.certain_basis().await?;
        }
        let mut sizes = Vec::with_capacity(oids.len());
        for batch in oids.chunks(MAX_IDS) {
            if !basis.caps.object_info {
                return Ok(None);
            }
            let found = match self.object_info(&basis, batch).await {
                Ok(found) => found,
                Err(failure) => {
                    basis = self.reconsider(failure, &basis).await?;
                    if !basis.caps.object_info {
                        return Ok(None);
                    }
                    let again = self.object_info(&basis, batch).await;
                    again.map_err(Failure::into_error)?
                }
            };
            sizes.extend(found);
        }
        Ok(Some(sizes))
    }

    async fn object_info(&self, basis: &Basis, oids: &[Oid]) -> Result<Vec<Option<u64>>, Failure> {
        let _permit = self
            .size_permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let hash = basis.caps.hash;
        let request = v2::object_info_request(&basis.caps, oids);
        let response = self.command(Errand::Command, request).await?;
        let body = self.transport.body(response, ANSWER_LIMIT).await?;
        let answer = v2::parse_object_info(&body, hash)
            .map_err(|error| self.protocol_failure(error, hash, !body.is_empty()))?;
        let answered: FxHashMap<Oid, Option<u64>> = answer.into_iter().collect();
        // An object that the server passed over is not one that it said it doesn't have.
        let size = |oid| answered.get(oid).copied();
        let sizes: Option<Vec<_>> = oids.iter().map(size).collect();
        sizes.ok_or_else(|| Failure::Final(self.corrupt("sizes that were asked for are missing")))
    }
}
