//! Parts of content: ranges, names in headers, names in paths.
//!
//! Pure. `http-range-header` and `percent-encoding` parse.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method};
use http_range_header::{RangeUnsatisfiableError, parse_range_header_with_max_ranges};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that RFC 8187 (formerly 5987) lets stand in an extended value, beside letters and
/// digits.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// What a request wants of some content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    Whole,
    /// These bytes.
    Part(RangeInclusive<u64>),
    /// Bytes beyond its end.
    Unsatisfiable,
}

/// Tells which bytes a request wants of content with that length and strong ETag. As RFC 9110
/// (section 14.2) allows, a range that is not valid, and several of them, mean the whole.
pub fn select(method: &Method, headers: &HeaderMap, len: u64, etag: &HeaderValue) -> Selection {
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Selection::Whole };
    // A date does not tell versions apart for sure.
    let is_same = headers.get_all(IF_RANGE).iter().all(|wanted| wanted == etag);
    if *method != Method::GET || !is_same {
        return Selection::Whole;
    }
    let parsed = range
        .to_str()
        .ok()
        .and_then(|text| parse_range_header_with_max_ranges(text, NonZeroUsize::MIN).ok());
    match parsed.map(|parsed| parsed.validate(len)) {
        Some(Ok(ranges)) => ranges.into_iter().next().map_or(Selection::Whole, Selection::Part),
        Some(Err(RangeUnsatisfiableError::Unsatisfiable)) => Selection::Unsatisfiable,
        Some(Err(_)) | None => Selection::Whole,
    }
}

/// Makes the value of `content-disposition` (RFC 6266): `kind` with the name in UTF-8, and in ASCII
/// for old clients.
pub fn attachment_name(kind: &str, name: &str) -> HeaderValue {
    let plain = |letter: char| {
        let is_plain = letter.is_ascii_alphanumeric() || " !#$&()+,-.;=@[]^_`{}~".contains(letter);
        if is_plain { letter } else { '_' }
    };
    let (ascii, utf8): (String, _) =
        (name.chars().map(plain).collect(), utf8_percent_encode(name, ESCAPED));
    let value = format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{utf8}");
    // Only printable ASCII is left.
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

/// Decodes one segment of a path; `None` if it is not UTF-8.
pub fn decoded_segment(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(lines: &[(&'static str, &str)], len: u64) -> Selection {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        select(&Method::GET, &headers, len, &HeaderValue::from_static("\"abc\""))
    }

    #[test]
    fn one_range_is_selected() {
        use Selection::{Part, Unsatisfiable, Whole};
        for (range, len, want) in [
            ("bytes=0-0", 10, Part(0..=0)),
            ("bytes=2-5", 10, Part(2..=5)),
            ("Bytes=2-5", 10, Part(2..=5)),
            ("bytes=5-", 10, Part(5..=9)),
            ("bytes=-3", 10, Part(7..=9)),
            ("bytes=-30", 10, Part(0..=9)),
            ("bytes=5-999", 10, Part(5..=9)),
            ("bytes=9-18446744073709551616", 10, Part(9..=9)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Whole),
            // Not valid, another unit, or several.
            ("bytes=5-2", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=--1", 10, Whole),
            ("lines=1-2", 10, Whole),
            ("bytes=0-1,4-5", 10, Whole),
        ] {
            assert_eq!(selection(&[("range", range)], len), want, "{range} of {len}");
        }
        assert_eq!(selection(&[], 10), Whole);
        let twice = [("range", "bytes=0-1"), ("range", "bytes=2-3")];
        assert_eq!(selection(&twice, 10), Whole);
    }

    #[test]
    fn a_range_of_another_version_is_not_selected() {
        let range = ("range", "bytes=2-5");
        for (wanted, is_same) in [
            ("\"abc\"", true),
            ("\"abd\"", false),
            ("W/\"abc\"", false),
            ("abc", false),
            ("Sun, 30 Nov 2026 08:00:00 GMT", false),
        ] {
            let selected = selection(&[range, ("if-range", wanted)], 10);
            assert_eq!(selected == Selection::Part(2..=5), is_same, "{wanted}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=2-5"));
        let etag = HeaderValue::from_static("\"abc\"");
        assert_eq!(select(&Method::HEAD, &headers, 10, &etag), Selection::Whole);
    }

    #[test]
    fn hostile_names_stay_inside_their_header() {
        for (name, want) in [
            ("a b.mp4", "inline; filename=\"a b.mp4\"; filename*=UTF-8''a%20b.mp4"),
            (
                "na\u{ef}ve \u{20ac}.txt",
                "inline; filename=\"na_ve _.txt\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt",
            ),
            ("\"; x=\"y\\", "inline; filename=\"_; x=_y_\"; filename*=UTF-8''%22%3B%20x%3D%22y%5C"),
            ("%41'*", "inline; filename=\"_41__\"; filename*=UTF-8''%2541%27%2A"),
            (
                "a\r\nset-cookie: b",
                "inline; filename=\"a__set-cookie_ b\"; filename*=UTF-8''a%0D%0Aset-cookie%3A%20b",
            ),
            ("\u{202e}gpj.exe", "inline; filename=\"_gpj.exe\"; filename*=UTF-8''%E2%80%AEgpj.exe"),
            ("<script>", "inline; filename=\"_script_\"; filename*=UTF-8''%3Cscript%3E"),
        ] {
            assert_eq!(attachment_name("inline", name), want, "{name:?}");
        }
    }

    #[test]
    fn segments_are_decoded_once() {
        for (segment, want) in [
            ("a%20b", Some("a b")),
            ("a+b", Some("a+b")),
            ("%2e%2e%2fx", Some("../x")),
            ("%2541", Some("%41")),
            ("%", Some("%")),
            ("%e2%82%ac", Some("\u{20ac}")),
            ("%ff", None),
        ] {
            assert_eq!(decoded_segment(segment).as_deref(), want, "{segment}");
        }
    }
}
