//! Links of pages that came through a proxy: they must lead through it again.

/// How a page was reached.
#[derive(Clone, Debug)]
pub(super) struct Links<'a> {
    /// The path that leads to the backend, for example `/api/v1/namespaces/a/pods/b/proxy`.
    pub(super) prefix: &'a str,
    /// The backend's own host and port.
    pub(super) backend: &'a str,
    /// The host that the client asked for.
    pub(super) host: &'a str,
}

/// The parts of a link that matter here.
struct Parts<'a> {
    host: Option<&'a str>,
    path: &'a str,
    rest: &'a str,
}

impl<'a> Parts<'a> {
    /// `None` for links that are no places: `mailto:`, `data:`.
    fn of(link: &'a str) -> Option<Self> {
        let scheme = link.find(':').filter(|end| {
            let scheme = &link[..*end];
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic()) && scheme.bytes().all(inner)
        });
        let after = scheme.map_or(link, |end| &link[end + 1..]);
        let (host, after) = match after.strip_prefix("//") {
            Some(place) => {
                let end = place.find(['/', '?', '#']).unwrap_or(place.len());
                (Some(&place[..end]), &place[end..])
            }
            None if scheme.is_some() => return None,
            None => (None, after),
        };
        let end = after.find(['?', '#']).unwrap_or(after.len());
        Some(Self { host, path: &after[..end], rest: &after[end..] })
    }
}

impl Links<'_> {
    /// Where a link has to lead instead; `None` where it may stay.
    pub(super) fn rewrite(&self, link: &str) -> Option<String> {
        let parts = Parts::of(link)?;
        let elsewhere = parts.host.is_some_and(|host| host != self.backend && host != self.host);
        if elsewhere || !parts.path.starts_with('/') {
            return None;
        }
        let lead = match parts.host {
            Some(host) if host == self.host => &link[..link.len() - parts.path.len() - parts.rest.len()],
            _ => "",
        };
        let prefix = if parts.path.starts_with(self.prefix) { "" } else { self.prefix };
        Some(format!("{lead}{prefix}{}{}", parts.path, parts.rest))
    }

    /// A page with its links rewritten; everything else stays as it is, byte for byte.
    pub(super) fn page(&self, html: &str) -> String {
        let mut out = String::with_capacity(html.len() + html.len() / 8);
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let end = if rest.starts_with("<!--") {
                rest.find("-->").map_or(rest.len(), |end| end + 3)
            } else if rest[1..].starts_with(|first: char| first.is_ascii_alphabetic()) {
                self.tag(rest, &mut out)
            } else {
                1
            };
            if rest.starts_with("<!--") || end == 1 {
                out.push_str(&rest[..end]);
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }

    /// Writes the tag that the text begins with, and the text of an element that has no tags in it. Returns its length.
    fn tag(&self, text: &str, out: &mut String) -> usize {
        let name_end = text[1..].find(|sign: char| sign.is_ascii_whitespace() || matches!(sign, '/' | '>'));
        let Some(name_end) = name_end.map(|end| end + 1) else {
            out.push_str(text);
            return text.len();
        };
        let name = text[1..name_end].to_ascii_lowercase();
        let (mut copied, mut at) = (0, name_end);
        while let Some(attribute) = next_attribute(text, &mut at) {
            let link =
                LINKS.iter().any(|(tag, attributes)| *tag == name && attributes.contains(&attribute.name.as_str()));
            let value = &text[attribute.from..attribute.to];
            if let Some(new) = link.then(|| self.rewrite(&value.replace("&amp;", "&"))).flatten() {
                out.push_str(&text[copied..attribute.from]);
                out.push_str(&new.replace('&', "&amp;").replace('"', "&#34;").replace('\'', "&#39;"));
                copied = attribute.to;
            }
        }
        let mut end = text[at..].find('>').map_or(text.len(), |end| at + end + 1);
        if RAW.contains(&name.as_str()) {
            let close = format!("</{name}");
            end = text[end..].to_ascii_lowercase().find(&close).map_or(text.len(), |close| end + close);
        }
        out.push_str(&text[copied..end]);
        end
    }
}

struct Attribute {
    name: String,
    from: usize,
    to: usize,
}

/// The next attribute with a value, from a place within a tag; the place moves on.
fn next_attribute(text: &str, at: &mut usize) -> Option<Attribute> {
    loop {
        *at += text[*at..].find(|sign: char| !sign.is_ascii_whitespace() && sign != '/')?;
        if text[*at..].starts_with('>') {
            return None;
        }
        let ends = |sign: char| sign.is_ascii_whitespace() || matches!(sign, '/' | '>' | '=');
        let start = *at;
        // A sign of equality at its beginning belongs to the name.
        let first = text[start..].chars().next()?.len_utf8();
        *at += first + text[start + first..].find(ends)?;
        let name = text[start..*at].to_ascii_lowercase();
        let after = text[*at..].trim_start();
        let Some(value) = after.strip_prefix('=') else { continue };
        let value = value.trim_start();
        let begin = text.len() - value.len();
        let (from, to) = match value.chars().next()? {
            quote @ ('"' | '\'') => (begin + 1, begin + 1 + value[1..].find(quote)?),
            _ => (begin, begin + value.find(|sign: char| sign.is_ascii_whitespace() || sign == '>')?),
        };
        *at = if from == begin { to } else { to + 1 };
        return Some(Attribute { name, from, to });
    }
}

/// Elements whose content is text, whatever it looks like.
const RAW: &[&str] =
    &["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "style", "textarea", "title", "xmp"];

/// The attributes that hold links, by element; from the index of attributes of the HTML standard.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: Links<'static> = Links { prefix: "/p/proxy", backend: "10.0.0.1:80", host: "api:6443" };

    #[test]
    fn links_lead_through_the_proxy_again() {
        let check = |link: &str, expected: Option<&str>| assert_eq!(LINKS.rewrite(link).as_deref(), expected, "{link}");
        check("/a/b?x=1#y", Some("/p/proxy/a/b?x=1#y"));
        check("/", Some("/p/proxy/"));
        check("http://10.0.0.1:80/a", Some("/p/proxy/a"));
        check("https://api:6443/a", Some("https://api:6443/p/proxy/a"));
        check("https://api:6443/p/proxy/a", Some("https://api:6443/p/proxy/a"));
        check("/p/proxy/a", Some("/p/proxy/a"));
        check("a/b", None);
        check("", None);
        check("http://example.com/a", None);
        check("mailto:/a", None);
        check("#top", None);
    }

    #[test]
    fn pages_change_only_where_links_are() {
        let check = |html: &str, expected: &str| assert_eq!(LINKS.page(html), expected);
        check(r#"<pre><a href="/x?a=1&amp;b=2">x</a></pre>"#, r#"<pre><a href="/p/proxy/x?a=1&amp;b=2">x</a></pre>"#);
        check("<A class=b HREF='/x'>é<br/>", "<A class=b HREF='/p/proxy/x'>é<br/>");
        check("<img src=/x alt = /y>", "<img src=/p/proxy/x alt = /y>");
        check("<!-- <a href='/x'> --><p title=\"/x\">1 < 2", "<!-- <a href='/x'> --><p title=\"/x\">1 < 2");
        check(
            "<script>'<a href=\"/x\">'</script><link href='/y'>",
            "<script>'<a href=\"/x\">'</script><link href='/p/proxy/y'>",
        );
        check("<a href=\"/unfinished", "<a href=\"/unfinished");
        check("<a disabled href='/x'", "<a disabled href='/p/proxy/x'");
    }
}
