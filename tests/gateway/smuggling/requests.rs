//! Requests that are two things to two readers.

/// What must become of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An answer that refuses, then the end of the connection; no instance hears of it.
    Refused,
    /// One request with this body at the instance, and the connection serves on.
    Serves(&'static str),
    /// One request with this body at the instance, then the end of the connection.
    Ends(&'static str),
}
use Fate::{Ends, Refused, Serves};

/// What one is called, what is sent, and what becomes of it. `<host>` and `<key>` stand for those headers, `<evil>` for
/// a request that nobody may ever see.
pub const CASES: &[(&str, &str, Fate)] = &[
    // Two lengths.
    (
        "CL.TE",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Ends(""),
    ),
    (
        "CL.TE with a request behind",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 200\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n<evil>",
        Ends(""),
    ),
    (
        "TE.CL",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Ends("abc"),
    ),
    (
        "TE.CL with a request inside",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n1b\r\nGET /evil HTTP/1.1\r\nx: ygha\r\n0\r\n\r\n",
        Ends("GET /evil HTTP/1.1\r\nx: ygha"),
    ),
    ("CL.0", "POST /a HTTP/1.1\r\n<host><key>content-length: 0\r\n\r\n", Serves("")),
    ("TE.0", "GET /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Serves("ab")),
    ("a body of GET", "GET /a HTTP/1.1\r\n<host><key>content-length: 2\r\n\r\nab", Serves("ab")),
    ("a body of HEAD", "HEAD /a HTTP/1.1\r\n<host><key>content-length: 2\r\n\r\nab", Serves("ab")),
    ("a body of DELETE", "DELETE /a HTTP/1.1\r\n<host><key>content-length: 2\r\n\r\nab", Serves("ab")),
    ("a body of OPTIONS", "OPTIONS /a HTTP/1.1\r\n<host><key>content-length: 2\r\n\r\nab", Serves("ab")),
    // Content-Length.
    (
        "two lengths that differ",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 2\r\ncontent-length: 40\r\n\r\nab",
        Refused,
    ),
    (
        "two lengths that differ, the other way",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 40\r\ncontent-length: 2\r\n\r\nab",
        Refused,
    ),
    (
        "two lengths that agree",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 2\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    (
        "two lengths that agree but for a zero",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 2\r\ncontent-length: 02\r\n\r\nab",
        Serves("ab"),
    ),
    ("a list of lengths", "POST /a HTTP/1.1\r\n<host><key>content-length: 2, 2\r\n\r\nab", Refused),
    ("a list of lengths that differ", "POST /a HTTP/1.1\r\n<host><key>content-length: 2, 3\r\n\r\nab", Refused),
    ("a list of one length", "POST /a HTTP/1.1\r\n<host><key>content-length: 2,\r\n\r\nab", Refused),
    ("a length with a plus", "POST /a HTTP/1.1\r\n<host><key>content-length: +2\r\n\r\nab", Refused),
    ("a length below zero", "POST /a HTTP/1.1\r\n<host><key>content-length: -2\r\n\r\nab", Refused),
    ("minus zero", "POST /a HTTP/1.1\r\n<host><key>content-length: -0\r\n\r\n", Refused),
    ("an empty length", "POST /a HTTP/1.1\r\n<host><key>content-length: \r\n\r\nab", Refused),
    ("a hexadecimal length", "POST /a HTTP/1.1\r\n<host><key>content-length: 0x2\r\n\r\nab", Refused),
    ("a length with an exponent", "POST /a HTTP/1.1\r\n<host><key>content-length: 2e0\r\n\r\nab", Refused),
    ("a length with a fraction", "POST /a HTTP/1.1\r\n<host><key>content-length: 2.0\r\n\r\nab", Refused),
    ("a length with a space inside", "POST /a HTTP/1.1\r\n<host><key>content-length: 1 2\r\n\r\nab", Refused),
    ("a length with an underscore", "POST /a HTTP/1.1\r\n<host><key>content-length: 0_2\r\n\r\nab", Refused),
    ("a length in quotes", "POST /a HTTP/1.1\r\n<host><key>content-length: \"2\"\r\n\r\nab", Refused),
    ("a length in other digits", "POST /a HTTP/1.1\r\n<host><key>content-length: \u{662}\r\n\r\nab", Refused),
    ("a length of 2^64", "POST /a HTTP/1.1\r\n<host><key>content-length: 18446744073709551616\r\n\r\nab", Refused),
    ("a length of 2^64 + 2", "POST /a HTTP/1.1\r\n<host><key>content-length: 18446744073709551618\r\n\r\nab", Refused),
    ("a length of 2^64 - 1", "POST /a HTTP/1.1\r\n<host><key>content-length: 18446744073709551615\r\n\r\nab", Refused),
    ("a length of 2^63", "POST /a HTTP/1.1\r\n<host><key>content-length: 9223372036854775808\r\n\r\nab", Refused),
    (
        "a length of many digits",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 99999999999999999999999999999999999999999999\r\n\r\nab",
        Refused,
    ),
    (
        "a length with many zeros",
        "POST /a HTTP/1.1\r\n<host><key>content-length: 0000000000000000000000000000000000002\r\n\r\nab",
        Serves("ab"),
    ),
    ("a length with tabs around", "POST /a HTTP/1.1\r\n<host><key>content-length:\t2\t\r\n\r\nab", Serves("ab")),
    ("a length with a vertical tab", "POST /a HTTP/1.1\r\n<host><key>content-length: \u{b}2\r\n\r\nab", Refused),
    (
        "a length with an underscore in its name",
        "POST /a HTTP/1.1\r\n<host><key>content_length: 40\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    // Transfer-Encoding.
    ("an encoding nobody knows", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: cow\r\n\r\n0\r\n\r\n", Refused),
    ("identity", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: identity\r\n\r\n0\r\n\r\n", Refused),
    (
        "chunked, identity",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "identity, chunked",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("gzip, chunked", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "chunked, chunked",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked twice",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked, then cow",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "cow, then chunked",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("chunked with a comma", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked,\r\n\r\n0\r\n\r\n", Refused),
    ("a comma before chunked", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "chunked with a parameter",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    ("chunked in quotes", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", Refused),
    ("xchunked", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Refused),
    (
        "chunked with a vertical tab",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked with a form feed",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\u{c}\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked with a no-break space",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked with tabs around",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding:\tchunked\t\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Serves("ab"),
    ),
    (
        "chunked in capitals",
        "POST /a HTTP/1.1\r\n<host><key>TRANSFER-ENCODING: CHUNKED\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Serves("ab"),
    ),
    ("an empty encoding", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: \r\n\r\n0\r\n\r\n", Refused),
    (
        "an empty encoding and a length",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: \r\ncontent-length: 2\r\n\r\nab",
        Refused,
    ),
    (
        "an encoding with an underscore in its name",
        "POST /a HTTP/1.1\r\n<host><key>transfer_encoding: chunked\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    (
        "an encoding in HTTP/1.0",
        "POST /a HTTP/1.0\r\n<host><key>connection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "an encoding and a length in HTTP/1.0",
        "POST /a HTTP/1.0\r\n<host><key>connection: keep-alive\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\nab",
        Refused,
    ),
    // Lines.
    (
        "a space before the colon",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding : chunked\r\ncontent-length: 2\r\n\r\nab",
        Refused,
    ),
    ("a tab before the colon", "POST /a HTTP/1.1\r\n<host><key>content-length\t: 2\r\n\r\nab", Refused),
    (
        "a space before the name",
        "POST /a HTTP/1.1\r\n<host><key> transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\nab",
        Refused,
    ),
    ("a space before the first name", "POST /a HTTP/1.1\r\n x: y\r\n<host><key>\r\n", Refused),
    ("a folded value", "POST /a HTTP/1.1\r\n<host><key>transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Refused),
    ("a folded length", "POST /a HTTP/1.1\r\n<host><key>x: y\r\n\tcontent-length: 2\r\n\r\nab", Refused),
    ("a bare CR in a value", "POST /a HTTP/1.1\r\n<host><key>x: y\rtransfer-encoding: chunked\r\n\r\n", Refused),
    (
        "a bare CR instead of a line's end",
        "POST /a HTTP/1.1\r\n<host><key>x: y\r\rcontent-length: 2\r\n\r\nab",
        Refused,
    ),
    ("a bare CR in the request line", "GET /a\rb HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("a bare CR behind a name", "POST /a HTTP/1.1\r\n<host><key>content-length\r: 2\r\n\r\nab", Refused),
    ("a bare LF as a line's end", "POST /a HTTP/1.1\n<host><key>content-length: 2\n\nab", Serves("ab")),
    ("a bare LF that opens a header", "POST /a HTTP/1.1\r\n<host><key>x: y\ncontent-length: 2\r\n\r\nab", Serves("ab")),
    ("NUL in a value", "POST /a HTTP/1.1\r\n<host><key>x: a\0b\r\n\r\n", Refused),
    ("NUL in a name", "POST /a HTTP/1.1\r\n<host><key>content-length\0: 2\r\n\r\nab", Refused),
    ("NUL in the path", "GET /a\0b HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("a name of nothing", "GET /a HTTP/1.1\r\n<host><key>: y\r\n\r\n", Refused),
    ("a line without a colon", "GET /a HTTP/1.1\r\n<host><key>transfer-encoding\r\n\r\n", Refused),
    ("a name with a bracket", "GET /a HTTP/1.1\r\n<host><key>[transfer-encoding]: chunked\r\n\r\n", Refused),
    (
        "a name with a letter beyond ASCII",
        "GET /a HTTP/1.1\r\n<host><key>transfer-encod\u{131}ng: chunked\r\n\r\n",
        Refused,
    ),
    ("empty lines before the request", "\r\n\r\nGET /a HTTP/1.1\r\n<host><key>\r\n", Serves("")),
    // Chunks.
    (
        "a chunk size with a sign",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size below zero",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size with 0x",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size with an underscore",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n0_2\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size of nothing",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size of a letter",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\nz\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size over 2^64",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size of 2^64 - 1",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size with a space before",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size with zeros",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n0002\r\nab\r\n0\r\n\r\n",
        Serves("ab"),
    ),
    (
        "a chunk extension",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n",
        Serves("ab"),
    ),
    (
        "a chunk extension in quotes",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2;x=\"y;z\"\r\nab\r\n0;last\r\n\r\n",
        Serves("ab"),
    ),
    (
        "a chunk extension with a bare LF",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2;\nxx\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk extension with a bare CR",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2;x\ry\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size that ends with a bare LF",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size that ends with a bare CR",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\rXab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk that is longer than it says",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nabXX\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk without an end",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk that ends with a bare LF",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n",
        Refused,
    ),
    (
        "an end of chunks with a bare LF",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\n\n",
        Refused,
    ),
    (
        "a trailer that says a length",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\ncontent-length: 40\r\n\r\n",
        Serves("ab"),
    ),
    (
        "a trailer that says an encoding",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
        Serves("ab"),
    ),
    (
        "a trailer that says a host and a key",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\ntrailer: host\r\n\r\n2\r\nab\r\n0\r\nhost: evil\r\nauthorization: evil\r\n\r\n",
        Serves("ab"),
    ),
    (
        "a folded trailer",
        "POST /a HTTP/1.1\r\n<host><key>transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n z\r\n\r\n",
        Refused,
    ),
    // Hosts and targets.
    ("no host", "GET /a HTTP/1.1\r\n<key>\r\n", Refused),
    ("two hosts", "GET /a HTTP/1.1\r\n<host>host: evil.default\r\n<key>\r\n", Refused),
    ("two hosts that agree", "GET /a HTTP/1.1\r\n<host><host><key>\r\n", Refused),
    ("a list of hosts", "GET /a HTTP/1.1\r\nhost: iris.default, evil.default\r\n<key>\r\n", Refused),
    ("a host with a user", "GET /a HTTP/1.1\r\nhost: evil@iris.default\r\n<key>\r\n", Refused),
    ("a host with a path", "GET /a HTTP/1.1\r\nhost: iris.default/evil\r\n<key>\r\n", Refused),
    ("a host with a space", "GET /a HTTP/1.1\r\nhost: iris.default evil\r\n<key>\r\n", Refused),
    ("a host with a port that is none", "GET /a HTTP/1.1\r\nhost: iris.default:80evil\r\n<key>\r\n", Refused),
    ("a host with a bracket", "GET /a HTTP/1.1\r\nhost: [::1\r\n<key>\r\n", Refused),
    ("a host beyond ASCII", "GET /a HTTP/1.1\r\nhost: iris.default\u{e9}\r\n<key>\r\n", Refused),
    (
        "a target with another host than the header",
        "GET http://iris.default/a HTTP/1.1\r\nhost: evil.default\r\n<key>\r\n",
        Serves(""),
    ),
    ("a target with a user", "GET http://evil@iris.default/a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("a target without a slash", "GET a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("a target with a space", "GET /a b HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("two spaces before the target", "GET  /a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("a tab before the target", "GET\t/a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("CONNECT", "CONNECT iris.default:80 HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("CONNECT to a path", "CONNECT /a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("CONNECT with a body", "CONNECT iris.default:80 HTTP/1.1\r\n<host><key>content-length: 2\r\n\r\nab", Refused),
    ("a target of an authority", "GET iris.default:80 HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("an asterisk that is not asked with OPTIONS", "GET * HTTP/1.1\r\n<host><key>\r\n", Refused),
    // Methods and versions.
    ("a method with a bracket", "G[T /a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("no method", " /a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("a space before the method", " GET /a HTTP/1.1\r\n<host><key>\r\n", Refused),
    ("HTTP/0.9", "GET /a\r\n", Refused),
    ("no version", "GET /a \r\n<host><key>\r\n", Refused),
    ("HTTP/1.2", "GET /a HTTP/1.2\r\n<host><key>\r\n", Refused),
    ("HTTP/2.0 without the preface", "GET /a HTTP/2.0\r\n<host><key>\r\n", Refused),
    ("http in small letters", "GET /a http/1.1\r\n<host><key>\r\n", Refused),
    ("HTTP/1.10", "GET /a HTTP/1.10\r\n<host><key>\r\n", Refused),
    ("words behind the version", "GET /a HTTP/1.1 evil\r\n<host><key>\r\n", Refused),
    ("a tunnel in TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n", Refused),
    // The connection.
    (
        "h2c",
        "GET /a HTTP/1.1\r\n<host><key>connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        Serves(""),
    ),
    (
        "h2c without its settings",
        "POST /a HTTP/1.1\r\n<host><key>connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    (
        "Connection that names the length",
        "POST /a HTTP/1.1\r\n<host><key>connection: content-length\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    (
        "Connection that names the encoding",
        "POST /a HTTP/1.1\r\n<host><key>connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Serves("ab"),
    ),
    (
        "Connection that names the host and the key",
        "GET /a HTTP/1.1\r\n<host><key>connection: host, authorization\r\n\r\n",
        Serves(""),
    ),
    ("Connection that closes", "GET /a HTTP/1.1\r\n<host><key>connection: close\r\n\r\n", Ends("")),
    (
        "Connection that closes and keeps",
        "GET /a HTTP/1.1\r\n<host><key>connection: close\r\nconnection: keep-alive\r\n\r\n",
        Ends(""),
    ),
    ("HTTP/1.0", "GET /a HTTP/1.0\r\n<host><key>\r\n", Ends("")),
    (
        "a word before the body that nobody waits for",
        "POST /a HTTP/1.1\r\n<host><key>expect: 100-continue\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    (
        "an expectation that nobody knows",
        "POST /a HTTP/1.1\r\n<host><key>expect: evil\r\ncontent-length: 2\r\n\r\nab",
        Serves("ab"),
    ),
    (
        "a word before a chunked body that nobody waits for",
        "POST /a HTTP/1.1\r\n<host><key>expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Serves("ab"),
    ),
    // Answers that come before the body, with a request in it.
    ("401 with a body on its way", "POST /a HTTP/1.1\r\n<host>content-length: 4000\r\n\r\n<evil>", Refused),
    (
        "401 with a chunked body on its way",
        "POST /a HTTP/1.1\r\n<host>transfer-encoding: chunked\r\n\r\nfff\r\n<evil>",
        Refused,
    ),
    (
        "404 with a body on its way",
        "POST /a HTTP/1.1\r\nhost: evil.default\r\n<key>content-length: 4000\r\n\r\n<evil>",
        Refused,
    ),
    ("413 with a body on its way", "POST /a HTTP/1.1\r\n<host><key>content-length: 1000001\r\n\r\n<evil>", Refused),
    (
        "413 for whoever waits for a word and does not",
        "POST /a HTTP/1.1\r\n<host><key>expect: 100-continue\r\ncontent-length: 1000001\r\n\r\n<evil>",
        Refused,
    ),
    (
        "401 for whoever waits for a word and does not",
        "POST /a HTTP/1.1\r\n<host>expect: 100-continue\r\ncontent-length: 4000\r\n\r\n<evil>",
        Refused,
    ),
    (
        "404 for a pin with a body on its way",
        "POST /a HTTP/1.1\r\n<host><key>azureml-model-deployment: evil\r\ncontent-length: 4000\r\n\r\n<evil>",
        Refused,
    ),
];
