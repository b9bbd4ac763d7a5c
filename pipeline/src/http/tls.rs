//! TLS for the endpoint: rustls with ring, certificate and key from PEM files that are read once, at start.
//!
//! The handshake is part of the first read or write, so that a client that is slow with it holds up nobody else, and is under
//! the same time limit as its request ([`super::guard`]).
//!
//! Absent: client certificates, reloading.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{key} = {path:?}: {source}; name a PEM file that the agent may read")]
    File {
        /// Which key of the configuration names it.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key do not go together, or are of a kind that is not known.
    #[error("http.tls_cert and http.tls_key: {0}; name a certificate chain, the server's first, and its key")]
    Pair(#[source] rustls::Error),
}

/// What is needed to answer with TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads certificate chain and key.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not go together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |key, path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { key, path, source }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .and_then(|chain: Vec<_>| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(failed("http.tls_cert", certificate))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed("http.tls_key", key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// A connection, with or without TLS.
pub(super) enum Transport {
    Plain(TcpStream),
    Shaking(Box<Accept<TcpStream>>),
    Secured(Box<TlsStream<TcpStream>>),
    /// The handshake failed.
    Broken,
}

impl Transport {
    pub(super) fn new(stream: TcpStream, tls: Option<&Tls>) -> Self {
        match tls {
            None => Self::Plain(stream),
            Some(Tls(acceptor)) => Self::Shaking(Box::new(acceptor.accept(stream))),
        }
    }

    /// Ready once the handshake is over; an error if it failed.
    fn shake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Secured(_) => Poll::Ready(Ok(())),
            Self::Broken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Self::Shaking(accept) => match ready!(Pin::new(accept).poll(context)) {
                Ok(stream) => {
                    *self = Self::Secured(Box::new(stream));
                    Poll::Ready(Ok(()))
                }
                Err(error) => {
                    *self = Self::Broken;
                    Poll::Ready(Err(error))
                }
            },
        }
    }

    fn with<T>(
        &mut self,
        context: &mut Context<'_>,
        plain: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
        secured: impl FnOnce(Pin<&mut TlsStream<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        ready!(self.shake(context))?;
        match self {
            Self::Plain(stream) => plain(Pin::new(stream), context),
            Self::Secured(stream) => secured(Pin::new(stream), context),
            Self::Shaking(_) | Self::Broken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.shake(context))?;
        match this {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Shaking(_) | Self::Broken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with(
            context,
            |io, context| io.poll_write(context, bytes),
            |io, context| io.poll_write(context, bytes),
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().with(
            context,
            |io, context| io.poll_write_vectored(context, bytes),
            |io, context| io.poll_write_vectored(context, bytes),
        )
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            // rustls gathers them itself.
            Self::Shaking(_) | Self::Secured(_) | Self::Broken => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(context, |io, context| io.poll_flush(context), |io, context| io.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this, Self::Shaking(_) | Self::Broken) {
            // Nothing was said that would have to be ended.
            *this = Self::Broken;
            return Poll::Ready(Ok(()));
        }
        this.with(context, |io, context| io.poll_shutdown(context), |io, context| io.poll_shutdown(context))
    }
}
