//! The real gateway as a process of its own, between raw sockets and scripted models.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test ends by a panic, its helpers too")]

mod certificates;
mod concurrency;
mod conformance;
mod connections;
mod cors;
mod documents;
mod hostile;
mod http2;
mod mirror;
mod model;
mod numbers;
mod peers;
mod process;
mod rate;
mod rest;
mod roll;
mod routing;
mod rules;
mod slowhttptest;
mod smuggling;
mod split;
mod statuses;
mod streaming;
mod strict;
mod tls;
mod websocket;
mod wire;
