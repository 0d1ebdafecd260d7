//! What a directory looks like it needs, for the `cutover.toml` that `cutover init` writes there.

use std::fs;
use std::path::Path;

use cutover_core::names::ServiceName;

use super::value::near_service_name;

/// A guess at a service; a person will read it before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guess {
    /// The name of the service: that of the package, or of the directory.
    pub(super) name: ServiceName,
    /// What starts an instance.
    pub(super) command: String,
    /// The directory to deploy; the one of the file if absent.
    pub(super) artifact: Option<String>,
    /// What a person has to know about the artifact: how it is built, or what else is in it.
    pub(super) note: Option<String>,
    /// The path that answers already, where that can be known.
    pub(super) health_path: Option<String>,
    /// The file that it was guessed from, if any was known.
    pub(super) because: Option<&'static str>,
}

impl Guess {
    /// A service about which only its name and its command are known.
    pub(super) fn new(name: ServiceName, command: String) -> Self {
        Self { name, command, artifact: None, note: None, health_path: None, because: None }
    }

    /// Looks at the files of a directory; the name may be given.
    pub(super) fn of(directory: &Path, name: Option<&ServiceName>) -> Self {
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let own = directory.file_name().and_then(|own| near_service_name(&own.to_string_lossy()));
        let text = |file: &str| fs::read_to_string(directory.join(file)).ok();
        let named = |package: Option<String>| {
            let package = package.and_then(|package| near_service_name(&package));
            name.cloned().or(package).or_else(|| own.clone()).unwrap_or_else(service)
        };
        procfile(text("Procfile").as_deref(), || named(None))
            .or_else(|| cargo(&text("Cargo.toml")?, named))
            .or_else(|| go(&text("go.mod")?, named))
            .or_else(|| node(&text("package.json")?, named))
            .or_else(|| python(&directory, || named(None)))
            .or_else(|| static_site(&directory, || named(None)))
            .unwrap_or_else(|| {
                let name = named(None);
                let command = format!("./{name}");
                Self::new(name, command)
            })
    }

    fn because(self, file: &'static str) -> Self {
        Self { because: Some(file), ..self }
    }

    /// A program that is built elsewhere in the tree and copied to `dist/`, so that sources and caches stay out
    /// of the release.
    fn built(name: ServiceName, program: &str, build: String) -> Self {
        let artifact = Some("dist/".to_owned());
        Self { artifact, note: Some(build), ..Self::new(name, format!("./{program}")) }
    }
}

// A constant, and a test covers it.
fn service() -> ServiceName {
    "service".parse().expect("`service` is a valid name")
}

fn procfile(text: Option<&str>, name: impl FnOnce() -> ServiceName) -> Option<Guess> {
    let web = text?.lines().find_map(|line| line.strip_prefix("web:"))?.trim();
    let command = web.replace("${PORT}", "{port}").replace("$PORT", "{port}");
    let needs_shell = command.contains(['$', '|', '&', ';', '<', '>', '`']);
    (!needs_shell && !command.is_empty()).then(|| Guess::new(name(), command).because("Procfile"))
}

fn cargo(text: &str, name: impl FnOnce(Option<String>) -> ServiceName) -> Option<Guess> {
    let manifest: toml::Table = text.parse().ok()?;
    let package = manifest.get("package")?.get("name")?.as_str()?;
    let build = format!("cargo build --release && install -D target/release/{package} dist/{package}");
    Some(Guess::built(name(Some(package.to_owned())), package, build).because("Cargo.toml"))
}

fn go(text: &str, name: impl FnOnce(Option<String>) -> ServiceName) -> Option<Guess> {
    let module = text.lines().find_map(|line| line.strip_prefix("module "))?.trim();
    let program = near_service_name(module.rsplit('/').next()?)?.to_string();
    let build = format!("go build -o dist/{program} .");
    Some(Guess::built(name(Some(program.clone())), &program, build).because("go.mod"))
}

fn node(text: &str, name: impl FnOnce(Option<String>) -> ServiceName) -> Option<Guess> {
    let package: serde_json::Value = serde_json::from_str(text).ok()?;
    let has_start = package.pointer("/scripts/start").is_some();
    let command = match package.get("main").and_then(serde_json::Value::as_str) {
        Some(main) if !has_start => format!("node {main}"),
        _ => "npm start".to_owned(),
    };
    // `@company/shop` is the shop.
    let own = package.get("name").and_then(|own| own.as_str()?.rsplit('/').next());
    Some(Guess::new(name(own.map(str::to_owned)), command).because("package.json"))
}

fn python(directory: &Path, name: impl FnOnce() -> ServiceName) -> Option<Guess> {
    let files = ["app.py", "main.py", "server.py", "requirements.txt"];
    let found = files.into_iter().find(|file| directory.join(file).is_file())?;
    let program = if found == "requirements.txt" { "app.py" } else { found };
    Some(Guess::new(name(), format!("python3 {program}")).because(found))
}

fn static_site(directory: &Path, name: impl FnOnce() -> ServiceName) -> Option<Guess> {
    let places = ["", "site/", "public/", "dist/", "build/", "_site/"];
    let found = places.into_iter().find(|place| directory.join(place).join("index.html").is_file())?;
    let command = "python3 -m http.server {port} --bind 127.0.0.1".to_owned();
    let all = "everything here is served, this file too; better pages in `site/` and `artifact = \"site/\"`";
    Some(Guess {
        note: found.is_empty().then(|| all.to_owned()),
        artifact: (!found.is_empty()).then(|| found.to_owned()),
        health_path: Some("/".to_owned()),
        ..Guess::new(name(), command).because("index.html")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    fn check(file: &str, text: &str, name: &str, command: &str, artifact: Option<&str>) {
        let fixture = Fixture::with(&format!("My Shop/{file}"), text);
        let guess = Guess::of(&fixture.path("My Shop"), None);
        let found = (guess.name.as_str(), guess.command.as_str(), guess.artifact.as_deref());
        assert_eq!(found, (name, command, artifact), "{file}");
    }

    #[test]
    fn the_files_of_a_directory_say_how_it_is_started() {
        let serve = "python3 -m http.server {port} --bind 127.0.0.1";
        check(
            "Procfile",
            "web: gunicorn app:app -b :$PORT\n",
            "my-shop",
            "gunicorn app:app -b :{port}",
            None,
        );
        check("Cargo.toml", "[package]\nname = \"shop_web\"\n", "shop-web", "./shop_web", Some("dist/"));
        check("go.mod", "module example.com/team/shop\n", "shop", "./shop", Some("dist/"));
        check(
            "package.json",
            "{\"name\":\"@a/till\",\"scripts\":{\"start\":\"node x\"}}",
            "till",
            "npm start",
            None,
        );
        check("package.json", "{\"main\":\"till.js\"}", "my-shop", "node till.js", None);
        check("main.py", "", "my-shop", "python3 main.py", None);
        check("requirements.txt", "", "my-shop", "python3 app.py", None);
        check("index.html", "", "my-shop", serve, None);
        check("public/index.html", "", "my-shop", serve, Some("public/"));
        check("notes.txt", "", "my-shop", "./my-shop", None);
    }

    #[test]
    fn a_file_that_says_nothing_is_passed_over() {
        check("Procfile", "web: cd app && ./run\n", "my-shop", "./my-shop", None);
        check("Cargo.toml", "[workspace]\n", "my-shop", "./my-shop", None);
        check("package.json", "not json", "my-shop", "./my-shop", None);
    }

    #[test]
    fn a_given_name_is_kept_and_a_directory_without_one_gets_one() {
        let fixture = Fixture::with("package.json", "{\"name\":\"till\"}");
        assert_eq!(Guess::of(&fixture.path(""), Some(&"shop".parse().unwrap())).name.as_str(), "shop");
        assert_eq!(Guess::of(Path::new("/"), None).name.as_str(), "service");
    }
}
