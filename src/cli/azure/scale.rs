//! `scale_settings`.

use serde_json::{Map, Value};

use super::deployment::{Count, Host, count};
use super::endpoint::put;
use super::limits;
use super::reading::{Fields, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Default,
    TargetUtilization,
}

/// Azure's names of the numbers, what they are called here, and how REST writes some of them.
const NUMBERS: [(&str, &str); 4] = [
    ("min_instances", "minInstances"),
    ("max_instances", "maxInstances"),
    ("target_utilization_percentage", "targetUtilizationPercentage"),
    ("polling_interval", "pollingIntervalSeconds"),
];

/// Reads how the number of instances follows the load; in 2021 the number itself was here too.
pub(super) fn read(
    fields: &mut Fields<'_>,
    host: Option<Host>,
    spec: &mut Map<String, Value>,
    report: &mut Report,
) -> Option<Count> {
    let field = fields.take("scale_settings")?;
    let mut found = None;
    let settings = field.fields(report, |fields, report| {
        let type_path = fields.path_of("type");
        found = fields.take("instance_count").and_then(|field| count(field, report));
        let words = [
            ("default", Kind::Default),
            ("target_utilization", Kind::TargetUtilization),
            ("manual", Kind::Default),
            ("automatic", Kind::TargetUtilization),
            ("auto", Kind::TargetUtilization),
        ];
        let written = fields.take_any(&["type", "scale_type"], report).map(|field| field.choice(report, &words));
        let has_numbers = NUMBERS.iter().any(|(key, _)| fields.has(key));
        let kind = match written {
            Some(kind) => kind?,
            None if has_numbers || host == Some(Host::Kubernetes) => {
                report.note(&type_path, "is not written; target_utilization is taken, as on Kubernetes");
                Kind::TargetUtilization
            }
            None => Kind::Default,
        };
        let mut settings = Map::new();
        for (key, name) in NUMBERS {
            let Some(field) = fields.take(key) else { continue };
            if kind == Kind::Default {
                field.note(report, "is left out: with type default the number of instances is instance_count");
                continue;
            }
            let range = limits::of(&format!("scaleSettings.{name}"));
            let number =
                if key == "polling_interval" { field.seconds(report, &range) } else { field.whole(report, &range) };
            put(&mut settings, name, number);
        }
        let bound = |name: &str| settings.get(name).and_then(Value::as_i64).unwrap_or(1);
        let (least, most) = (bound("minInstances"), bound("maxInstances"));
        if least > most {
            let why =
                format!("is {least}, and max_instances is {most}; it must not be above (both are 1 when not written)");
            report.refuse(&fields.path_of("min_instances"), why);
        }
        let name = match kind {
            Kind::Default => "Default",
            Kind::TargetUtilization => "TargetUtilization",
        };
        settings.insert("type".to_owned(), name.into());
        Some(settings)
    });
    put(spec, "scaleSettings", settings.flatten());
    found
}
