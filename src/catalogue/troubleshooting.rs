//! The page that leads from a failure to its cause: try it locally, read the log, find the code, then the HTTP status.

use std::fmt::{self, Write};

use super::{Code, Reason, answer};

/// The page in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::new();
    // Writing to a String can't fail.
    let _ = write(&mut page);
    page
}

fn write(page: &mut String) -> fmt::Result {
    page.write_str(BEGINNING)?;
    for &code in Code::ALL {
        write!(page, "\n### {}: {}\n\n{}", code.as_str(), code.title(), story(code))?;
        page.write_str("\nThe causes, and what to do about each:\n\n")?;
        for reason in Reason::ALL.iter().filter(|reason| reason.code() == code) {
            let says_so = reason.is_final() || reason.next_step().contains("tried again by itself");
            let last = if says_so { "" } else { " *Tried again by itself.*" };
            writeln!(page, "- **{}**: {}{last}", reason.as_str(), reason.next_step())?;
        }
    }
    page.write_str(STATUSES)?;
    let row = |page: &mut String, status: u16, phrase: &str, when: &str, next_step: &str| {
        writeln!(page, "| {status} | {phrase} | {when} | {next_step} |")
    };
    row(page, 200, "OK", "The model has answered within its time.", "")?;
    let (before, after): (Vec<_>, Vec<_>) = answer::ALL.iter().partition(|one| one.status < MODEL_ERROR);
    for one in before {
        row(page, one.status, one.reason_phrase(), one.when, one.next_step)?;
    }
    row(
        page,
        MODEL_ERROR,
        "Model Error; original-code=N",
        "The model answered N, which is not 200. The body is the model's own.",
        "Read its log, and correct what fails in run().",
    )?;
    for one in after {
        row(page, one.status, one.reason_phrase(), one.when, one.next_step)?;
    }
    page.write_str(END)
}

/// The status of everything that the model does wrong.
const MODEL_ERROR: u16 = 424;

const BEGINNING: &str = "<!-- Written by `mooring-operator catalogue --troubleshooting`; change src/catalogue.rs and src/catalogue/troubleshooting.rs. -->
# Troubleshooting

A deployment does not come up, or an endpoint does not answer as it should. Go in this order:

1. [Deploy locally](#deploy-locally), to see model, code and image without a cluster.
2. [Get the logs](#get-the-logs) of the container.
3. Look up the code in [common deployment errors](#common-deployment-errors).
4. When scoring fails, look up the status in [HTTP status codes](#http-status-codes).

In what follows the endpoint is `iris` and its deployment `blue`. `--namespace` and `--context` say where they are, as with
`kubectl`.

## Deploy locally

A local endpoint runs on the container engine of your machine. It is quick to make, and it fails with the same codes as one in a
cluster. Every verb takes `--local`:

```console
$ mooring endpoint create --local -f endpoint.yml
$ mooring deployment create --local -f blue.yml --all-traffic
$ mooring endpoint invoke --local -n iris --request-file request.json
$ mooring endpoint get-logs --local -n iris -d blue
$ mooring endpoint delete --local -n iris --yes
```

- The image is taken from the engine where it is there already, and pulled where it is not.
- Model and code that are folders of your machine are mounted. Change the code, and restart:
  `mooring deployment restart --local -e iris -n blue`.
- Keys, traffic, limits and probes are those of the file.

A model that works locally and not in the cluster lacks something there: the image, the model's files, room on a node. The code
says which.

## Get the logs

```console
$ mooring endpoint get-logs -n iris -d blue -l 100
$ mooring endpoint get-logs --name iris --deployment blue --lines 100
```

Both are the same. The first block is the state of the instance, the second one its events, and the third one the log of the
inference server, which has what `score.py` prints and logs. Python logs nothing below `WARNING` unless it is told to: set the
level to `INFO` to see more.

A container that has not started has no log. Then the command says what it waits for; try again later.

Model and code are fetched before the server starts, by another container:

```console
$ mooring endpoint get-logs -n iris -d blue --container storage-initializer
```

`--previous` has the log before the last restart, `--follow` goes on, `--instance` and `--all-instances` choose among several.
`--debug` shows each HTTP request that the command makes.

For a request that failed, `mooring endpoint invoke -n iris --request-file request.json -v` prints its `x-request-id`. The
gateway's log has the same id, and the `x-ms-client-request-id` that a client has sent.

## Common deployment errors

The code and the cause are in the deployment's status, and `create` and `update` end with them:

```console
$ mooring deployment list -e iris
$ mooring deployment show -e iris -n blue
$ mooring explain ImageNotFound
```

`status.error` has the message with the facts, the next step, the instance and the end of its log. While a new revision fails, the
old one goes on serving. Most errors heal by themselves once the cause is gone.
";

const STATUSES: &str = "
## HTTP status codes

What a client gets from a scoring URI:

| status | reason phrase | when | what to do |
|---|---|---|---|
";

const END: &str = "
Each answer of the gateway's own has a JSON body with `error.code` and `error.message`, and the header `x-request-id`. `Retry-After`
says when to come again. With 424, `ms-azureml-model-error-reason` tells an error of the model (`model_error`) from an instance that
is not ready (`model_not_ready`).

## When nothing helps

`mooring doctor` looks at everything that has to be right for an endpoint to serve, and says what to do about what is not:

```console
$ mooring doctor
```

[errors.md](errors.md) has every cause with its message.
";

/// What a code means, and where to look.
const fn story(code: Code) -> &'static str {
    match code {
        Code::Err1100 => {
            "The instances need more cores, endpoints or deployments than the namespace may have. Its `ComputeQuota` says how many; an \
             administrator may have set a `ResourceQuota` too. What runs keeps what it has.\n\n\
             ```console\n\
             $ mooring quota show\n\
             $ mooring deployment list\n\
             $ mooring deployment delete -e iris -n green\n\
             $ mooring deployment scale -e iris -n blue --instance-count 1\n\
             $ kubectl describe resourcequota\n\
             ```\n"
        }
        Code::Err1200 => {
            "A node has to pull the image, and can't. Either there is no such image, or the registry does not give it away, or the node \
             does not reach the registry. Look at the image from your machine first, with the name that `environment.image` has. A \
             registry that wants credentials needs a Secret, named in `environment.imagePullSecretNames`.\n\n\
             ```console\n\
             $ docker manifest inspect registry.example.com/iris:1\n\
             $ kubectl create secret generic registry --type kubernetes.io/dockerconfigjson --from-file .dockerconfigjson=$HOME/.docker/config.json\n\
             $ mooring endpoint get-logs -n iris -d blue --tail 100\n\
             ```\n"
        }
        Code::Err1300 => {
            "The storage initializer fetches model and code before the server starts, and has not got all of it. The address is wrong, or \
             the store refuses it, or the files are not what they should be. Its log has each file. What may be read is a matter of the \
             endpoint's identity, or of the Secret that `credentialsSecretName` names.\n\n\
             ```console\n\
             $ mooring endpoint get-logs -n iris -d blue --container storage-initializer\n\
             $ mooring model show --name iris\n\
             $ mooring code show --name iris-score\n\
             $ kubectl get serviceaccount iris-identity -o yaml\n\
             ```\n"
        }
        Code::Err2100 => {
            "The container can't be started: no node has room for it, the cluster refuses the pod, or the node can't set the container up. \
             It may ask for more than its `instanceType` has.\n\n\
             ```console\n\
             $ mooring deployment show -e iris -n blue\n\
             $ mooring instance-type list\n\
             $ kubectl describe nodes\n\
             ```\n"
        }
        Code::Err2200 => {
            "The container has started, and has crashed, ended, or does not answer its probes. Mostly it is `score.py`: a package that \
             the image lacks, a syntax error, an error in `init()`. Or the probes ask the wrong path, or give up before a large model is \
             loaded. The log ends with the reason; try it [locally](#deploy-locally).\n\n\
             ```console\n\
             $ mooring endpoint get-logs -n iris -d blue --lines 100\n\
             $ mooring endpoint get-logs -n iris -d blue --previous\n\
             $ mooring deployment update -e iris -n blue --set livenessProbe.initialDelaySeconds=60\n\
             ```\n"
        }
        Code::Err5000 => {
            "Something of Mooring's own does not work. Your files are not at fault. The doctor says what to do about what it can see; \
             anything else is a bug, which the operator's log helps to find.\n\n\
             ```console\n\
             $ mooring doctor\n\
             $ kubectl logs --namespace mooring-system deployment/mooring-operator --tail 100\n\
             ```\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_that_is_checked_in_is_the_catalogue() {
        assert!(
            include_str!("../../docs/troubleshooting.md") == markdown(),
            "docs/troubleshooting.md is out of date: run mooring-operator catalogue --troubleshooting > docs/troubleshooting.md"
        );
    }

    #[test]
    fn every_cause_and_every_answer_is_told_in_the_order_of_the_stages() {
        let page = markdown();
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("### ERR_")).collect();
        let codes: Vec<String> =
            Code::ALL.iter().map(|code| format!("### {}: {}", code.as_str(), code.title())).collect();
        assert_eq!(headings, codes);
        for reason in Reason::ALL {
            assert_eq!(page.matches(&format!("- **{}**: ", reason.as_str())).count(), 1, "{}", reason.as_str());
        }
        let statuses: Vec<u16> =
            page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
        assert!(statuses.is_sorted() && statuses.len() == answer::ALL.len() + 2, "{statuses:?}");
    }
}
