//! Finding what the user wants to see: `ls-refs`, with the advertisement beside it where the host
//! is not known.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use super::{Basis, Errand, Failure, Ground, Inner, refs::Question};
use crate::{
    git::{
        oid::HashKind,
        refname,
        v2::{self, RefLine},
    },
    origin::{OriginError, RefWant, Resolved},
};

/// The longest list of refs that is taken: a server may ignore the prefixes asked for.
const LIST_LIMIT: usize = 64 << 20;

/// Refs, and the object format that their ids have.
type Listed = (Vec<RefLine>, HashKind);

impl Inner {
    pub(super) async fn resolve(self: &Arc<Self>, want: &RefWant) -> Result<Resolved, OriginError> {
        let unknown = |name: &str| OriginError::UnknownRef {
            source_name: self.given.to_string(),
            name: name.to_owned(),
        };
        let (name, question) = match want {
            RefWant::Head => ("HEAD", Question::Head),
            RefWant::Named(name) => {
                if let Some(target) = refname::parse_oid(name) {
                    // Whether the origin has it, the fetch will tell.
                    return Ok(Resolved {
                        name: None,
                        target,
                        peeled: None,
                        hash: target.kind(),
                    });
                }
                let question = Question::named(name).ok_or_else(|| unknown(name))?;
                (name.as_str(), question)
            }
        };
        let (refs, hash) = self.list(&question.prefixes()).await?;
        if let Some(found) = question.find(&refs, hash) {
            return Ok(found);
        }
        if question == Question::Head {
            // An older server says nothing of a HEAD whose branch is not born. If others are, it
            // is only HEAD that leads nowhere.
            let (refs, _) = self.list(&["refs/heads/", "refs/tags/"]).await?;
            if refs.is_empty() {
                return Err(OriginError::Empty {
                    source_name: self.given.to_string(),
                });
            }
        }
        Err(unknown(name))
    }

    async fn list(self: &Arc<Self>, prefixes: &[&str]) -> Result<Listed, OriginError> {
        let basis = self.basis(None);
        if basis.ground == Ground::Assumed {
            return self.race(basis, prefixes).await;
        }
        match self.ls_refs(&basis, prefixes).await {
            Ok(listed) => Ok(listed),
            Err(failure) => {
                let basis = self.reconsider(failure, &basis).await?;
                let again = self.ls_refs(&basis, prefixes).await;
                again.map_err(Failure::into_error)
            }
        }
    }

    /// Asks for refs and for the advertisement at the same time. The refs are waited for, the
    /// advertisement only if they don't come.
    async fn race(
        self: &Arc<Self>,
        basis: Basis,
        prefixes: &[&str],
    ) -> Result<Listed, OriginError> {
        let asker = Arc::clone(self);
        let mut advertisement = Box::pin(async move { asker.certain_basis().await });
        let mut refs = Box::pin(self.ls_refs(&basis, prefixes));
        let basis = match first(&mut refs, &mut advertisement).await {
            First::Left(Ok(listed)) => {
                // It is on its way already, and tells later requests what they may ask for.
                let rest = Box::pin(async move {
                    if let Err(error) = advertisement.await {
                        tracing::debug!(%error, "no capability advertisement");
                    }
                });
                self.runtime.spawn("capability advertisement", rest);
                return Ok(listed);
            }
            First::Left(Err(Failure::Final(error))) => return Err(error),
            First::Left(Err(_in_doubt)) => advertisement.await?,
            First::Right(Ok(basis)) => match refs.await {
                Ok(listed) => return Ok(listed),
                Err(Failure::Final(error)) => return Err(error),
                Err(_in_doubt) => basis,
            },
            // It may have been this connection only.
            First::Right(Err(error @ (OriginError::Http(_) | OriginError::Server { .. }))) => {
                return refs.await.map_err(|_| error);
            }
            First::Right(Err(error)) => return Err(error),
        };
        let again = self.ls_refs(&basis, prefixes).await;
        again.map_err(Failure::into_error)
    }

    async fn ls_refs(&self, basis: &Basis, prefixes: &[&str]) -> Result<Listed, Failure> {
        let hash = basis.caps.hash;
        let request = v2::ls_refs_request(&basis.caps, prefixes);
        let response = self.command(Errand::Command, request).await?;
        let body = self.transport.body(response, LIST_LIMIT).await?;
        if body.len() > LIST_LIMIT {
            let error = self.corrupt("the list of refs has no end");
            return Err(Failure::Final(error));
        }
        let refs = v2::parse_ls_refs(&body, hash)
            .map_err(|error| self.protocol_failure(error, hash, !body.is_empty()))?;
        Ok((refs, hash))
    }
}

enum First<L, R> {
    Left(L),
    Right(R),
}

/// The one of two futures that is ready first, `left` of two that are. The other can go on being
/// awaited.
async fn first<L, R>(
    left: &mut Pin<Box<impl Future<Output = L>>>,
    right: &mut Pin<Box<impl Future<Output = R>>>,
) -> First<L, R> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = left.as_mut().poll(cx) {
            return Poll::Ready(First::Left(output));
        }
        right.as_mut().poll(cx).map(First::Right)
    })
    .await
}
