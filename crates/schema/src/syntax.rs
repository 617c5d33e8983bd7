//! What is wrong with text that is no JSON, in the words of Go's decoder: clients are shown them.

/// Upstream's decoder follows no deeper nesting.
const DEPTH: usize = 10_000;

/// The first thing that is wrong; `None` for JSON.
pub fn json_error(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    scan.document().err().map(|fault| match fault {
        Fault::End => "unexpected end of JSON input".to_owned(),
        Fault::Byte(context) => format!("invalid character {} {context}", shown(text[scan.at.min(text.len() - 1)])),
    })
}

enum Fault {
    /// There should be more.
    End,
    /// The byte that was reached has no place here.
    Byte(&'static str),
}

fn shown(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x20..0x7f | 0xa1.. => format!("'{}'", char::from(byte)),
        _ => format!("'\\x{byte:02x}'"),
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Result<u8, Fault> {
        self.text.get(self.at).copied().ok_or(Fault::End)
    }

    fn skip(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn document(&mut self) -> Result<(), Fault> {
        self.value()?;
        self.skip();
        if self.at < self.text.len() { Err(Fault::Byte("after top-level value")) } else { Ok(()) }
    }

    /// One value with all that it holds, without recursion: `open` are the brackets around.
    fn value(&mut self) -> Result<(), Fault> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.skip();
            let first = self.peek()?;
            match first {
                b'{' | b'[' => {
                    open.push(first);
                    if open.len() > DEPTH {
                        return Err(Fault::Byte("exceeded max depth"));
                    }
                    self.at += 1;
                    self.skip();
                    if self.peek()? != first + 2 {
                        if first == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(
                    "true",
                    [
                        "",
                        "in literal true (expecting 'r')",
                        "in literal true (expecting 'u')",
                        "in literal true (expecting 'e')",
                        "",
                    ],
                )?,
                b'f' => self.word(
                    "false",
                    [
                        "",
                        "in literal false (expecting 'a')",
                        "in literal false (expecting 'l')",
                        "in literal false (expecting 's')",
                        "in literal false (expecting 'e')",
                    ],
                )?,
                b'n' => self.word(
                    "null",
                    [
                        "",
                        "in literal null (expecting 'u')",
                        "in literal null (expecting 'l')",
                        "in literal null (expecting 'l')",
                        "",
                    ],
                )?,
                _ => return Err(Fault::Byte("looking for beginning of value")),
            }
            if !self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Passes what ends after a value; whether another value follows.
    fn close(&mut self, open: &mut Vec<u8>) -> Result<bool, Fault> {
        while let Some(bracket) = open.last().copied() {
            self.skip();
            let byte = self.peek()?;
            if byte == bracket + 2 {
                open.pop();
                self.at += 1;
            } else if byte != b',' {
                let object = bracket == b'{';
                return Err(Fault::Byte(if object { "after object key:value pair" } else { "after array element" }));
            } else {
                self.at += 1;
                if bracket == b'{' {
                    self.key()?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn key(&mut self) -> Result<(), Fault> {
        self.skip();
        if self.peek()? != b'"' {
            return Err(Fault::Byte("looking for beginning of object key string"));
        }
        self.string()?;
        self.skip();
        if self.peek()? != b':' {
            return Err(Fault::Byte("after object key"));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..0x20 => return Err(Fault::Byte("in string literal")),
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    /// Stops at the escape's last byte.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek()?.is_ascii_hexdigit() {
                        return Err(Fault::Byte("in \\u hexadecimal character escape"));
                    }
                }
                Ok(())
            }
            _ => Err(Fault::Byte("in string escape code")),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(Fault::Byte("in numeric literal")),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(Fault::Byte("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(Fault::Byte("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, contexts: [&'static str; 5]) -> Result<(), Fault> {
        for (wanted, context) in word.bytes().zip(contexts) {
            if self.peek()? != wanted {
                return Err(Fault::Byte(context));
            }
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_go_tells_them() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(json_error(text.as_bytes()).as_deref(), expected, "{text}");
        check(r#" {"a": [1, -2.5e+3, "x\u00e9\n", true, null, {}], "b": []} "#, None);
        check("", Some("unexpected end of JSON input"));
        check("{", Some("unexpected end of JSON input"));
        check("a: b", Some("invalid character 'a' looking for beginning of value"));
        check(r#"{"a":1} x"#, Some("invalid character 'x' after top-level value"));
        check("{a:1}", Some("invalid character 'a' looking for beginning of object key string"));
        check(r#"{"a" 1}"#, Some("invalid character '1' after object key"));
        check(r#"{"a":1 "b"}"#, Some("invalid character '\"' after object key:value pair"));
        check("[1 2]", Some("invalid character '2' after array element"));
        check("[tru]", Some("invalid character ']' in literal true (expecting 'e')"));
        check("[\"a\nb\"]", Some("invalid character '\\n' in string literal"));
        check(r#"["\q"]"#, Some("invalid character 'q' in string escape code"));
        check("1.x", Some("invalid character 'x' after decimal point in numeric literal"));
        check(&"[".repeat(20_000), Some("invalid character '[' exceeded max depth"));
    }
}
