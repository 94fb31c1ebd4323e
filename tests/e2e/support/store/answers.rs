//! The answers of S3.

use std::fmt::Write;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Fault;
use crate::support::server::{Body, whole};

/// What the keys of a listing keep; the client asks for `encoding-type=url`.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

pub fn refuse(status: u16, header: Option<(&str, &str)>, code: &str, message: &str) -> Response<Body> {
    let document = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let mut answer = Response::builder().status(status).header("content-type", "application/xml");
    if let Some((name, value)) = header {
        answer = answer.header(name, value);
    }
    answer.body(whole(document)).unwrap()
}

pub fn no_such_key() -> Response<Body> {
    refuse(404, None, "NoSuchKey", "The specified key does not exist.")
}

pub fn no_such_bucket() -> Response<Body> {
    refuse(404, None, "NoSuchBucket", "The specified bucket does not exist")
}

/// One page of `ListObjectsV2`, of all `objects` with their sizes.
pub fn listing<'a>(bucket: &str, prefix: &str, objects: impl Iterator<Item = (&'a str, usize)>) -> Response<Body> {
    let (mut contents, mut count) = (String::new(), 0);
    for (key, size) in objects {
        let key = utf8_percent_encode(key, KEPT);
        write!(contents, "<Contents><Key>{key}</Key><Size>{size}</Size></Contents>").unwrap();
        count += 1;
    }
    let prefix = utf8_percent_encode(prefix, KEPT);
    let document = format!(
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name>\
         <Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys>\
         <EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    );
    Response::builder().header("content-type", "application/xml").body(whole(document)).unwrap()
}

/// An object, or what `fault` makes of it.
pub fn object(bytes: &Bytes, fault: Option<Fault>) -> Response<Body> {
    let body = match fault {
        Some(Fault::Stalled) => {
            let half = bytes.slice(..bytes.len() / 2);
            let half = stream::once(std::future::ready(Ok(Frame::data(half))));
            StreamBody::new(half.chain(stream::pending())).boxed_unsync()
        }
        Some(Fault::Corrupt) => whole(bytes.iter().map(|byte| !byte).collect::<Bytes>()),
        _ => whole(bytes.clone()),
    };
    Response::builder().header("content-length", bytes.len()).body(body).unwrap()
}
