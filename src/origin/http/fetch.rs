//! Objects: `fetch`, passed on as it arrives.

use super::{Basis, Errand, Failure, Inner};
use crate::{
    git::v2::{self, FetchEvent, FetchRequest, FetchResponse, FilterSpec},
    origin::{Fetch, FetchSink, Filter, OriginError},
};

/// After the end of an answer there should be nothing. As much of it is read, so that the
/// connection can be used again.
const REST_LIMIT: usize = 4 << 10;

impl Inner {
    pub(super) async fn fetch(
        &self,
        fetch: &Fetch,
        sink: &mut dyn FetchSink,
    ) -> Result<(), OriginError> {
        let Some(first) = fetch.wants.first() else {
            return Ok(());
        };
        let basis = self.basis(Some(first.kind()));
        match self.fetch_on(&basis, fetch, sink).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                let basis = self.reconsider(failure, &basis).await?;
                if basis.caps.hash != first.kind() {
                    return Err(OriginError::MissingObject {
                        source_name: self.given.to_string(),
                        oid: Some(*first),
                    });
                }
                let again = self.fetch_on(&basis, fetch, sink).await;
                again.map_err(Failure::into_error)
            }
        }
    }

    async fn fetch_on(
        &self,
        basis: &Basis,
        fetch: &Fetch,
        sink: &mut dyn FetchSink,
    ) -> Result<(), Failure> {
        let hash = basis.caps.hash;
        let request = FetchRequest {
            wants: &fetch.wants,
            have: fetch.have,
            filter: match fetch.filter {
                Filter::None => None,
                Filter::NoBlobs => Some(FilterSpec::BlobNone),
                Filter::OnlyWanted => Some(FilterSpec::TreeDepth(0)),
            },
            // Servers pass over wanted objects that have no history. Without it, one wanted commit
            // would bring all of its ancestors.
            deepen: Some(1),
            thin_pack: false,
            no_progress: fetch.filter == Filter::OnlyWanted,
            want_refs: &[],
        };
        let request = v2::fetch_request(&basis.caps, &request);
        let mut response = self.command(Errand::Fetch, request).await?;
        let mut answer = FetchResponse::new();
        let mut received = false;
        let mut delivered = false;
        let failed = |error, received, delivered| {
            match self.protocol_failure(error, hash, received) {
                // The sink can't be given a second pack.
                failure if delivered => Failure::Final(failure.into_error()),
                failure => failure,
            }
        };
        while let Some(data) = self.transport.chunk(&mut response).await? {
            received = true;
            answer.feed(data);
            loop {
                let event = answer.next_event();
                match event.map_err(|error| failed(error, received, delivered))? {
                    None => break,
                    Some(FetchEvent::PackData(data)) => {
                        delivered = true;
                        sink.pack_data(data)?;
                    }
                    Some(FetchEvent::Progress(line)) => sink.progress(&line),
                    Some(FetchEvent::End) => {
                        let _ = self.transport.body(response, REST_LIMIT).await;
                        return Ok(());
                    }
                    Some(
                        FetchEvent::Shallow(_)
                        | FetchEvent::Unshallow(_)
                        | FetchEvent::WantedRef { .. },
                    ) => {}
                }
            }
        }
        answer
            .finish()
            .map_err(|error| failed(error, received, delivered))
    }
}
