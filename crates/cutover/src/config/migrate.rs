//! `[migrate]`: the steps of the database.

use std::time::Duration;

use cutover_core::gates::{ContractWhen, Migrate};
use toml::Spanned;

use super::error::ConfigError;
use super::gates::{self, Surroundings};
use super::keys;
use super::raw::{RawMigrate, Text};
use super::source::Source;
use super::value;

const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn resolve(
    source: &Source,
    raw: Option<&Spanned<RawMigrate>>,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Migrate, ConfigError> {
    let Some(typed) = raw else { return Ok(Migrate::default()) };
    let raw = typed.get_ref();
    let mut words = |key, command: Option<_>| {
        command.map(|command| gates::program(source, key, command, surroundings, warnings)).transpose()
    };
    let (expand, contract) =
        (words("expand", raw.expand.as_ref())?, words("contract", raw.contract.as_ref())?);
    if expand.is_none() && contract.is_none() {
        return Err(source
            .error(&typed.span(), "`[migrate]` runs nothing")
            .with_hint("add a line such as `expand = \"./migrate expand\"`"));
    }
    let contract_when = raw.contract_when.as_ref().map(|when| self::when(source, when)).transpose()?;
    if let (Some(when), None) = (&raw.contract_when, &contract) {
        return Err(source
            .error(&when.span(), "`contract_when` says when, but there is no `contract`")
            .with_hint("add a line such as `contract = \"./migrate contract\"`"));
    }
    if contract_when == Some(ContractWhen::AfterBake)
        && surroundings.several_hosts
        && let Some(when) = &raw.contract_when
    {
        return Err(source
            .error(&when.span(), "with several `[deploy] hosts` the schema is not contracted by itself")
            .with_hint(
                "the bake of one host ends while another may still go back; `cutover contract` does it once all have ended",
            ));
    }
    if contract_when == Some(ContractWhen::AfterBake)
        && surroundings.bake.is_zero()
        && let Some(when) = &raw.contract_when
    {
        let message = "with `bake = \"0s\"` the schema is contracted as soon as traffic is switched, and then there is no rollback";
        gates::warn(source, &when.span(), message, warnings);
    }
    let bounds = Duration::from_secs(1)..=LONGEST;
    let default = Migrate::default().timeout;
    Ok(Migrate {
        expand,
        contract,
        contract_when: contract_when.unwrap_or_default(),
        timeout: value::duration(source, "timeout", raw.timeout.as_ref(), default, bounds)?,
    })
}

fn when(source: &Source, typed: &Text) -> Result<ContractWhen, ConfigError> {
    match typed.get_ref().as_str() {
        "by_hand" => Ok(ContractWhen::ByHand),
        "after_bake" => Ok(ContractWhen::AfterBake),
        other => {
            let near = keys::nearest(other, ["by_hand", "after_bake"].into_iter());
            let hint = near.map_or_else(
                || "it is `by_hand` or `after_bake`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Err(source.error(&typed.span(), format!("`contract_when` cannot be `{other}`")).with_hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::gates::{ContractWhen, Migrate};

    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        let fixture = Fixture::service();
        assert_eq!(fixture.error_of_line_3(&format!("[migrate]\n{lines}")), expected, "{lines}");
    }

    #[test]
    fn steps_of_the_database_are_read_with_when_and_how_long() {
        let fixture = Fixture::service();
        fixture.executable("migrate");
        let text = "name = \"shop\"\ncommand = \"./shop\"\n[migrate]\nexpand = \"./migrate expand {version}\"\n\
                    contract = [\"./migrate\", \"contract\"]\ncontract_when = \"after_bake\"\ntimeout = \"2h\"\n";
        let resolved = fixture.resolve(text).unwrap();
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let expected = Migrate {
            expand: words(&["./migrate", "expand", "{version}"]),
            contract: words(&["./migrate", "contract"]),
            contract_when: ContractWhen::AfterBake,
            timeout: Duration::from_secs(7200),
        };
        assert_eq!(resolved.spec.configuration.gates.migrate, expected);
        assert_eq!(resolved.warnings, Vec::<String>::new());
    }

    #[test]
    fn a_program_that_is_missing_and_a_contract_without_a_bake_are_warned_of() {
        let fixture = Fixture::service();
        let text = "name = \"shop\"\ncommand = \"./shop\"\nrollout.bake = \"0s\"\n[migrate]\n\
                    contract = \"./shp contract\"\ncontract_when = \"after_bake\"\n";
        let warnings = fixture.resolve(text).unwrap().warnings;
        let shown: Vec<_> = warnings.iter().map(|warning| fixture.plain(warning)).collect();
        assert_eq!(
            shown,
            [
                "cutover.toml:5: `./shp` is not in the artifact directory `/`; did you mean `./shop`?",
                "cutover.toml:6: with `bake = \"0s\"` the schema is contracted as soon as traffic is switched, and then there is no rollback",
            ]
        );
    }

    #[test]
    fn steps_that_cannot_be_run_are_refused() {
        check(
            "",
            "cutover.toml:3: `[migrate]` runs nothing\n  add a line such as `expand = \"./migrate expand\"`",
        );
        check(
            "expand = \"./shop\"\ncontract_when = \"by_hand\"",
            "cutover.toml:5: `contract_when` says when, but there is no `contract`\n  add a line such as `contract = \"./migrate contract\"`",
        );
        check(
            "contract = \"./shop\"\ncontract_when = \"afterbake\"",
            "cutover.toml:5: `contract_when` cannot be `afterbake`\n  did you mean `after_bake`?",
        );
        check(
            "expand = \"\"",
            "cutover.toml:4: `expand` is empty\n  it begins with a program, such as `./shop`",
        );
        check(
            "expand = \"./shop {port}\"",
            "cutover.toml:4: no port belongs to `expand`: it answers no requests\n  take `{port}` out; a suite finds the release that it tests in the variable CUTOVER_TARGET_URL",
        );
        check(
            "expnad = \"./shop\"",
            "cutover.toml:4: unknown key `expnad` in `[migrate]`\n  did you mean `expand`?",
        );
    }
}
