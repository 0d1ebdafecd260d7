//! The service and the environment that a verb is about, both of which may be left out.

use std::path::Path;

use clap::Args;
use cutover_core::ServiceName;

use crate::api::environment::EnvironmentName;
use crate::cli::exit::Failure;
use crate::cli::place;

/// `[SERVICE] [ENV]` as they were typed: with one of the two, its place does not say which it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// blue, green, live or idle
    #[arg(value_name = "ENV")]
    environment: Option<String>,
}

impl Target {
    /// The words as they were typed.
    pub(crate) fn words(&self) -> Vec<&str> {
        [&self.service, &self.environment].into_iter().flatten().map(String::as_str).collect()
    }

    /// One word beside a `cutover.toml` is an environment if it is called like one, else a service; without a
    /// `cutover.toml` it can only be a service, whatever it is called.
    pub(crate) fn resolve(self) -> Result<(ServiceName, Option<EnvironmentName>), Failure> {
        self.resolve_beside(Path::new("cutover.toml").exists())
    }

    fn resolve_beside(self, configuration: bool) -> Result<(ServiceName, Option<EnvironmentName>), Failure> {
        match (self.service, self.environment) {
            (Some(service), Some(environment)) => {
                let environment = environment.parse().map_err(|error: String| {
                    let swapped = service.parse::<EnvironmentName>().is_ok();
                    let hint = if swapped {
                        "the service comes first"
                    } else {
                        "`cutover status` tells which is which"
                    };
                    Failure::usage(error).hint(hint)
                })?;
                Ok((place::service(Some(service))?, Some(environment)))
            }
            (Some(word), None) => match word.parse::<EnvironmentName>() {
                Ok(environment) if configuration => Ok((place::service(None)?, Some(environment))),
                _ => Ok((place::service(Some(word))?, None)),
            },
            (None, _) => Ok((place::service(None)?, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(words: &[&str], configuration: bool) -> Result<(String, Option<&'static str>), String> {
        let mut words = words.iter().map(|&word| word.to_owned());
        let target = Target { service: words.next(), environment: words.next() };
        let resolved = target.resolve_beside(configuration);
        resolved
            .map(|(service, environment)| (service.to_string(), environment.map(EnvironmentName::label)))
            .map_err(|failure| failure.message)
    }

    #[test]
    fn two_words_are_service_and_environment_whatever_the_service_is_called() {
        for configuration in [true, false] {
            assert_eq!(resolve(&["shop", "idle"], configuration), Ok(("shop".to_owned(), Some("idle"))));
            assert_eq!(resolve(&["live", "blue"], configuration), Ok(("live".to_owned(), Some("blue"))));
        }
        assert!(resolve(&["idle", "shop"], true).unwrap_err().starts_with("`shop` is not an environment"));
    }

    #[test]
    fn one_word_is_a_service_unless_it_is_called_like_an_environment_beside_a_configuration() {
        assert_eq!(resolve(&["shop"], true), Ok(("shop".to_owned(), None)));
        assert_eq!(resolve(&["live"], false), Ok(("live".to_owned(), None)));
        // Here is no `cutover.toml` that names the service; that it was looked for is what is tested.
        assert!(resolve(&["live"], true).unwrap_err().contains("no service was named"));
        assert!(resolve(&[], false).unwrap_err().contains("no service was named"));
    }
}
