//! A source file as tokens: comments and the insides of literals left out, tests told apart.

use std::collections::BTreeSet;
use std::path::Path;

/// An identifier, a number, `::`, one other mark, or `"` for any literal in quotes.
#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A file.
pub struct Source {
    /// Relative to the repository, with slashes.
    pub path: String,
    /// Of the whole file.
    pub lines: usize,
    /// Up to the first `#[cfg(test)]` in front of a module.
    pub lines_before_tests: usize,
    /// Its tokens, tests included.
    pub everything: Vec<Token>,
    /// Its tokens without those of tests.
    outside_tests: Vec<Token>,
    /// Names of modules in other files that are for tests only.
    test_modules: Vec<String>,
}

/// Every Rust file of the package, without `src` files that are tests from their first line.
pub fn all() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(root, Path::new(folder), &mut files);
    }
    files.sort();
    let mut sources: Vec<Source> = files
        .iter()
        .map(|path| Source::of(path, &std::fs::read_to_string(root.join(path)).unwrap()))
        .collect();
    let for_tests: BTreeSet<String> = sources.iter().flat_map(Source::files_for_tests).collect();
    for source in &mut sources {
        if for_tests
            .iter()
            .any(|file| *file == source.path || source.path.starts_with(&format!("{}/", stem(file))))
        {
            source.outside_tests.clear();
            source.lines_before_tests = 0;
        }
    }
    sources
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
}

fn stem(file: &str) -> &str {
    file.strip_suffix(".rs").unwrap_or(file)
}

impl Source {
    /// A file of this path and text.
    pub fn of(path: &str, text: &str) -> Self {
        let everything = tokens(text);
        let (outside_tests, test_modules, first_test_line) = without_tests(&everything);
        let lines = text.lines().count();
        Self {
            path: path.to_owned(),
            lines,
            lines_before_tests: first_test_line.map_or(lines, |line| line - 1),
            everything,
            outside_tests,
            test_modules,
        }
    }

    /// Its tokens without those of tests; all of them where the whole file is one.
    pub fn tokens(&self) -> &[Token] {
        &self.outside_tests
    }

    /// What is wrong at a token.
    pub fn says(&self, token: &Token, what: &str) -> String {
        format!("{}:{}: {what}", self.path, token.line)
    }

    /// The module this file is, from the crate's root; none for binaries and tests.
    pub fn module_path(&self) -> Option<Vec<String>> {
        let path = stem(self.path.strip_prefix("src/")?);
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        match path[0].as_str() {
            "bin" => None,
            "lib" => Some(Vec::new()),
            _ => Some(path),
        }
    }

    /// Every path from the crate's root that is named outside of tests, wherever it stands and
    /// whether it is spelt with `crate`, `self` or `super`.
    pub fn crate_paths(&self) -> Vec<(Token, Vec<String>)> {
        let own = self.module_path().unwrap_or_default();
        let mut found = self.paths_from("crate");
        found.extend(
            self.paths_from("self").into_iter().map(|(token, path)| (token, [own.clone(), path].concat())),
        );
        for (token, path) in self.paths_from("super") {
            let more = path.iter().take_while(|segment| *segment == "super").count();
            let above = own.len().saturating_sub(1 + more);
            found.push((token, [&own[..above], &path[more..]].concat()));
        }
        found
    }

    /// Every path that begins with `root::`, without the root; groups in braces one by one.
    pub fn paths_from(&self, root: &str) -> Vec<(Token, Vec<String>)> {
        let tokens = &self.outside_tests;
        let mut found = Vec::new();
        for at in 0..tokens.len() {
            let begins = at == 0 || tokens[at - 1].text != "::";
            if tokens[at].text == root && begins && is(tokens, at + 1, "::") {
                let mut paths = Vec::new();
                branches(tokens, &mut (at + 2), &mut Vec::new(), &mut paths);
                found.extend(paths.into_iter().map(|path| (tokens[at].clone(), path)));
            }
        }
        found
    }

    /// Files that this one declares as modules for tests only.
    fn files_for_tests(&self) -> Vec<String> {
        let folder = match self.path.as_str() {
            "src/lib.rs" => "src",
            path => stem(path),
        };
        self.test_modules.iter().map(|name| format!("{folder}/{name}.rs")).collect()
    }
}

fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

/// Reads the tree of paths that begins at `at`.
fn branches(tokens: &[Token], at: &mut usize, stem: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let Some(token) = tokens.get(*at) else { return };
    match token.text.as_str() {
        "{" => {
            *at += 1;
            while *at < tokens.len() && !is(tokens, *at, "}") {
                if is(tokens, *at, ",") {
                    *at += 1;
                } else {
                    branches(tokens, at, &mut stem.clone(), found);
                }
            }
            *at += 1;
        }
        name if name == "*" || is_word(name) => {
            stem.push(name.to_owned());
            *at += 1;
            let goes_on = tokens
                .get(*at + 1)
                .is_some_and(|next| matches!(next.text.as_str(), "{" | "*") || is_word(&next.text));
            if is(tokens, *at, "::") && goes_on {
                *at += 1;
                branches(tokens, at, stem, found);
            } else {
                if is(tokens, *at, "as") {
                    *at += 2;
                }
                found.push(stem.clone());
            }
        }
        _ => *at += 1,
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The tokens outside of tests, the names of test modules in other files, and the line of the first
/// module of tests.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>, Option<usize>) {
    let (mut kept, mut modules, mut first) = (Vec::new(), Vec::new(), None);
    let mut at = 0;
    while at < tokens.len() {
        if !is_test_attribute(tokens, at) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let line = tokens[at].line;
        while is(tokens, at, "#") {
            at = after_group(tokens, at + 1);
        }
        let item = &tokens[at..];
        let word = item.iter().position(|token| {
            matches!(
                token.text.as_str(),
                "mod" | "fn" | "use" | "impl" | "struct" | "enum" | "const" | "static"
            )
        });
        let declared = word.filter(|&word| word <= 5 && item[..word].iter().all(|token| token.text != ":"));
        if let Some(word) = declared
            && item[word].text == "mod"
        {
            first = first.or(Some(line));
            if is(item, word + 2, ";") {
                modules.push(item[word + 1].text.clone());
            }
        }
        at = after_item(tokens, at, declared.map(|word| item[word].text.as_str()));
    }
    (kept, modules, first)
}

/// Whether `#[cfg(test)]`, or one that needs `test` among others, stands here.
fn is_test_attribute(tokens: &[Token], at: usize) -> bool {
    if !(is(tokens, at, "#") && is(tokens, at + 1, "[") && is(tokens, at + 2, "cfg")) {
        return false;
    }
    let inside = &tokens[at..after_group(tokens, at + 1)];
    let says = |word: &str| inside.iter().any(|token| token.text == word);
    says("test") && !says("not") && !says("any")
}

/// Behind the group that opens at `at`.
fn after_group(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Behind the item that begins at `at`: its block, its semicolon, or the comma behind a field.
fn after_item(tokens: &[Token], mut at: usize, word: Option<&str>) -> usize {
    while at < tokens.len() {
        match (tokens[at].text.as_str(), word) {
            ("{", Some("use" | "const" | "static")) | ("(" | "[", _) => at = after_group(tokens, at),
            ("{", _) => return after_group(tokens, at),
            (";", _) | (",", None) => return at + 1,
            ("}", _) => return at,
            _ => at += 1,
        }
    }
    at
}

/// The text's tokens.
fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { text: text.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while let Some(next) = reader.peek(0) {
        reader.read(next);
    }
    reader.tokens
}

struct Reader {
    text: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn step(&mut self) {
        self.line += usize::from(self.peek(0) == Some('\n'));
        self.at += 1;
    }

    fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| self.step());
    }

    fn push(&mut self, text: impl Into<String>) {
        self.tokens.push(Token { text: text.into(), line: self.line });
    }

    fn read(&mut self, next: char) {
        match (next, self.peek(1)) {
            ('/', Some('/')) => {
                while self.peek(0).is_some_and(|next| next != '\n') {
                    self.step();
                }
            }
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.quoted(),
            ('\'', _) => self.quote(),
            (':', Some(':')) => {
                self.push("::");
                self.steps(2);
            }
            _ if next.is_whitespace() => self.step(),
            _ if next.is_alphanumeric() || next == '_' => self.word(),
            _ => {
                self.push(next);
                self.step();
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while let Some(next) = self.peek(0) {
            match (next, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.step();
                    continue;
                }
            }
            self.steps(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted(&mut self) {
        self.push('"');
        self.step();
        while let Some(next) = self.peek(0) {
            self.steps(if next == '\\' { 2 } else { 1 });
            if next == '"' {
                return;
            }
        }
    }

    /// A character, or a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == Some('\\') {
            self.steps(3);
            while self.peek(0).is_some_and(|next| next != '\'') {
                self.step();
            }
            self.step();
        } else if self.peek(2) == Some('\'') {
            self.steps(3);
        } else {
            self.step();
            while self.peek(0).is_some_and(|next| next.is_alphanumeric() || next == '_') {
                self.step();
            }
        }
    }

    fn word(&mut self) {
        let mut word = String::new();
        while let Some(next) = self.peek(0).filter(|next| next.is_alphanumeric() || *next == '_') {
            word.push(next);
            self.step();
        }
        let marks = (0..).take_while(|&ahead| self.peek(ahead) == Some('#')).count();
        match (word.as_str(), self.peek(marks)) {
            ("r" | "br" | "cr", Some('"')) => self.raw(marks),
            ("b" | "c", Some('"')) if marks == 0 => self.quoted(),
            ("b", Some('\'')) if marks == 0 => self.quote(),
            _ => self.push(word),
        }
    }

    /// A raw text that opens with this many marks.
    fn raw(&mut self, marks: usize) {
        self.push('"');
        self.steps(marks + 1);
        while let Some(next) = self.peek(0) {
            let closes = next == '"' && (1..=marks).all(|ahead| self.peek(ahead) == Some('#'));
            self.step();
            if closes {
                self.steps(marks);
                return;
            }
        }
    }
}
