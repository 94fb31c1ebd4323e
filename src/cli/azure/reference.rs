//! References to what is kept in an Azure ML workspace or registry, which a cluster can't look up.

use std::collections::BTreeMap;

/// What short references begin with.
const SHORT: &str = "azureml:";
/// What ids of Azure's resource manager begin with.
const RESOURCE: &str = "/subscriptions/";

/// A reference in one of its spellings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// As it is written.
    pub(super) text: &'a str,
    /// What it is of.
    pub(super) to: Target<'a>,
}

/// What a reference is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A model, environment or code with a name: `azureml:iris:1`, `azureml:iris@latest`,
    /// `azureml://registries/azureml/models/iris/versions/1`.
    Asset {
        /// Its name.
        name: &'a str,
        /// Its version, unless it is a label such as `latest`.
        version: Option<&'a str>,
        /// Its label.
        label: Option<&'a str>,
    },
    /// A path of a datastore.
    Datastore {
        /// Name of the datastore.
        name: &'a str,
        /// The path in it.
        path: &'a str,
    },
    /// What a job has written.
    Job {
        /// Name of the job.
        name: &'a str,
    },
    /// Something else.
    Other,
}

/// Reads a reference; `None` when the text is something else.
pub(super) fn parse(text: &str) -> Option<Reference<'_>> {
    let is_short = text.get(..SHORT.len()).is_some_and(|start| start.eq_ignore_ascii_case(SHORT));
    if !is_short && !text.get(..RESOURCE.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESOURCE)) {
        return None;
    }
    let rest = if is_short { text.get(SHORT.len()..).unwrap_or_default() } else { text };
    let to = if rest.contains('/') { long(rest) } else { short(rest) };
    Some(Reference { text, to })
}

/// `NAME:VERSION`, `NAME@LABEL` or `NAME`.
fn short(rest: &str) -> Target<'_> {
    let (name, version, label) = match (rest.split_once(':'), rest.split_once('@')) {
        (Some((name, version)), _) => (name, Some(version), None),
        (None, Some((name, label))) => (name, None, Some(label)),
        (None, None) => (rest, None, None),
    };
    if name.is_empty() { Target::Other } else { Target::Asset { name, version, label } }
}

/// `//registries/REGISTRY/models/NAME/versions/VERSION`, `/subscriptions/…/workspaces/W/models/NAME/versions/VERSION`,
/// `//datastores/NAME/paths/PATH`, `//jobs/NAME/…`.
fn long(rest: &str) -> Target<'_> {
    let after = |word: &str| {
        let (_, after) = rest.split_once(&format!("/{word}/"))?;
        let (value, more) = after.split_once('/').unwrap_or((after, ""));
        (!value.is_empty()).then_some((value, more))
    };
    if let Some((name, more)) = after("datastores") {
        return Target::Datastore { name, path: more.strip_prefix("paths/").unwrap_or(more) };
    }
    if let Some((name, _)) = after("jobs") {
        return Target::Job { name };
    }
    let Some((name, more)) = ["models", "environments", "codes", "code"].into_iter().find_map(after) else {
        return Target::Other;
    };
    Target::Asset { name, version: more.strip_prefix("versions/"), label: more.strip_prefix("labels/") }
}

impl Reference<'_> {
    /// The short spelling, where there is one.
    fn short(&self) -> Option<String> {
        match self.to {
            Target::Asset { name, version: Some(version), .. } => Some(format!("{SHORT}{name}:{version}")),
            Target::Asset { name, label: Some(label), .. } => Some(format!("{SHORT}{name}@{label}")),
            Target::Asset { name, .. } => Some(format!("{SHORT}{name}")),
            Target::Datastore { .. } | Target::Job { .. } | Target::Other => None,
        }
    }

    /// What the caller says that it stands for.
    pub(super) fn find<'m>(&self, assets: &'m BTreeMap<String, String>) -> Option<&'m str> {
        let found = assets.get(self.text).or_else(|| assets.get(&self.short()?));
        found.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset<'a>(name: &'a str, version: Option<&'a str>, label: Option<&'a str>) -> Target<'a> {
        Target::Asset { name, version, label }
    }

    #[test]
    fn every_spelling_of_a_reference_has_its_name_and_version() {
        for (text, target) in [
            ("azureml:iris:1", Some(asset("iris", Some("1"), None))),
            ("AzureML:iris@latest", Some(asset("iris", None, Some("latest")))),
            ("azureml:iris", Some(asset("iris", None, None))),
            ("azureml://registries/azureml/models/iris/versions/4", Some(asset("iris", Some("4"), None))),
            ("azureml://registries/r/environments/sk/labels/latest", Some(asset("sk", None, Some("latest")))),
            ("azureml:/subscriptions/s/workspaces/w/models/iris/versions/2", Some(asset("iris", Some("2"), None))),
            ("/subscriptions/s/workspaces/w/codes/0a/versions/1", Some(asset("0a", Some("1"), None))),
            ("azureml://datastores/d/paths/a/b", Some(Target::Datastore { name: "d", path: "a/b" })),
            (
                "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/d/paths/a/",
                Some(Target::Datastore { name: "d", path: "a/" }),
            ),
            ("azureml://jobs/j/outputs/artifacts/paths/model/", Some(Target::Job { name: "j" })),
            ("azureml:", Some(Target::Other)),
            ("azureml://whatever", Some(Target::Other)),
            ("../model", None),
            ("s3://models/azureml:iris:1", None),
        ] {
            assert_eq!(parse(text).map(|reference| reference.to), target, "{text}");
        }
    }

    #[test]
    fn a_long_reference_is_found_by_its_short_spelling_too() {
        let assets = BTreeMap::from([("azureml:iris:2".to_owned(), "s3://models/iris/".to_owned())]);
        let long = parse("/subscriptions/s/workspaces/w/models/iris/versions/2").unwrap();
        assert_eq!(long.find(&assets), Some("s3://models/iris/"));
        assert_eq!(parse("azureml:iris:3").unwrap().find(&assets), None);
    }
}
