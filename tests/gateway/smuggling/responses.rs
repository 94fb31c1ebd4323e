//! Answers that are two things to two readers, or that say what only the gateway may say.

/// What must become of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This code and body.
    Passes(u16, &'static str),
    /// 424 with code 0: the connection is given up.
    Fails,
    /// The head passes, and the body breaks off.
    Breaks,
}
use Fate::{Breaks, Fails, Passes};

/// What one is called, the method that asks for it, what the instance sends, and what becomes of it. `<evil>` stands for
/// another answer, which nobody may ever see, and `<close>` for the end of the connection.
pub const CASES: &[(&str, &str, &str, Fate)] = &[
    // Two lengths.
    ("two lengths that differ", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\nabcd", Fails),
    ("a list of lengths that differ", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2, 4\r\n\r\nabcd", Fails),
    (
        "two lengths that agree",
        "GET",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    ("a list of lengths that agree", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab", Passes(200, "ab")),
    (
        "a length and chunks",
        "GET",
        "HTTP/1.1 200 OK\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Passes(200, "ab"),
    ),
    (
        "chunks and a shorter length",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Passes(200, "ab"),
    ),
    ("a length of less than is sent", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab<evil>", Passes(200, "ab")),
    ("a length of nothing, and more", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n<evil>", Passes(200, "")),
    ("a length of more than is sent", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab<close>", Breaks),
    ("a length with a sign", "GET", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab", Fails),
    ("a length below zero", "GET", "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nab", Fails),
    ("a length of words", "GET", "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nab", Fails),
    ("a length over 2^64", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nab", Fails),
    ("no length", "GET", "HTTP/1.1 200 OK\r\n\r\nab<close>", Passes(200, "ab")),
    ("no length in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nab<close>", Passes(200, "ab")),
    (
        "chunks in HTTP/1.0",
        "GET",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n<close>",
        Fails,
    ),
    // Codings.
    ("a coding nobody knows", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: cow\r\n\r\nab<close>", Fails),
    ("gzip, chunked", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Fails),
    (
        "chunked, identity",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\nab\r\n0\r\n\r\n<close>",
        Fails,
    ),
    (
        "chunked twice",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Fails,
    ),
    (
        "a space before the colon of the coding",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\ncontent-length: 2\r\n\r\nab",
        Fails,
    ),
    // Chunks.
    (
        "a chunk size that is none",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        Breaks,
    ),
    (
        "a chunk size with a sign",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n",
        Breaks,
    ),
    (
        "a chunk that is longer than it says",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        Breaks,
    ),
    (
        "a chunk size over 2^64",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n",
        Breaks,
    ),
    ("chunks without an end", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n<close>", Breaks),
    (
        "an answer behind the last chunk",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n<evil>",
        Passes(200, "ab"),
    ),
    (
        "a trailer that says what only we may say",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-evil\r\n\r\n2\r\nab\r\n0\r\nx-evil: 1\r\ncontent-length: 40\r\n\r\n",
        Passes(200, "ab"),
    ),
    // Lines.
    ("a folded header", "GET", "HTTP/1.1 200 OK\r\nx: a\r\n x-evil: 1\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("a bare CR in a value", "GET", "HTTP/1.1 200 OK\r\nx: a\rx-evil: 1\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("NUL in a value", "GET", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("a name with a space", "GET", "HTTP/1.1 200 OK\r\nx evil: 1\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("a line without a colon", "GET", "HTTP/1.1 200 OK\r\nevil\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("a bare CR in the phrase", "GET", "HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("no status", "GET", "HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("a status of four digits", "GET", "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("a status below 100", "GET", "HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nab", Fails),
    ("HTTP/0.9", "GET", "<html>evil</html><close>", Fails),
    ("another protocol", "GET", "SSH-2.0-evil\r\n<close>", Fails),
    ("nothing", "GET", "<close>", Fails),
    // Answers without a body, with one.
    ("204 with a body", "GET", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n<evil>", Passes(204, "")),
    (
        "204 with chunks",
        "GET",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Passes(204, ""),
    ),
    ("304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n<evil>", Passes(304, "")),
    ("HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<evil>", Passes(200, "")),
    (
        "HEAD with chunks",
        "HEAD",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Passes(200, ""),
    ),
    ("HEAD of 404 with a body", "HEAD", "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\n<evil>", Passes(424, "")),
    // Words before the answer.
    (
        "100 unasked",
        "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    (
        "102 and 103",
        "GET",
        "HTTP/1.1 102 Processing\r\nx-evil: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: evil\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    (
        "100 with a length",
        "GET",
        "HTTP/1.1 100 Continue\r\ncontent-length: 4\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    ("100 and no answer", "GET", "HTTP/1.1 100 Continue\r\n\r\n<close>", Fails),
    (
        "101 unasked",
        "GET",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: evil\r\n\r\n<evil>",
        Fails,
    ),
    (
        "101 to a WebSocket unasked",
        "GET",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n<evil>",
        Fails,
    ),
    ("199", "GET", "HTTP/1.1 199 Evil\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", Passes(200, "ab")),
    // Headers of others.
    (
        "headers of the connection",
        "GET",
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-evil\r\nx-evil: 1\r\nkeep-alive: evil\r\nproxy-authenticate: evil\r\nproxy-connection: evil\r\nte: evil\r\ntrailer: evil\r\nupgrade: evil\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    (
        "Connection that names the length",
        "GET",
        "HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    (
        "our own headers",
        "GET",
        "HTTP/1.1 200 OK\r\nms-azureml-model-error-reason: evil\r\nms-azureml-model-error-statuscode: evil\r\nms-azureml-evil: 1\r\nazureml-model-deployment: evil\r\nazureml-model-deployment: evil\r\nx-request-id: evil\r\nx-request-id: evil\r\nx-ms-client-request-id: evil\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    (
        "the same with another code",
        "GET",
        "HTTP/1.1 500 Evil\r\nms-azureml-model-error-reason: evil\r\nms-azureml-model-error-statuscode: evil\r\nazureml-model-deployment: evil\r\ncontent-length: 2\r\n\r\nab",
        Passes(424, "ab"),
    ),
    (
        "Connection that names our headers",
        "GET",
        "HTTP/1.1 200 OK\r\nconnection: x-request-id, azureml-model-deployment\r\ncontent-length: 2\r\n\r\nab",
        Passes(200, "ab"),
    ),
    (
        "Connection: close",
        "GET",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab<evil>",
        Passes(200, "ab"),
    ),
    ("a code nobody knows", "GET", "HTTP/1.1 299 Fine\r\ncontent-length: 2\r\n\r\nab", Passes(299, "ab")),
    ("a code beyond the classes", "GET", "HTTP/1.1 999 Evil\r\ncontent-length: 2\r\n\r\nab", Passes(424, "ab")),
    ("two answers at once", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab<evil><evil>", Passes(200, "ab")),
];
