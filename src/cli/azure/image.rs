//! Images that Azure would build from an environment. Here somebody builds them: the command line for a local
//! deployment, the user for a cluster.

use super::Refusal;

/// A deployment whose image nobody has built yet. Until then `spec.environment.image` is [`NeedsImage::tag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedsImage {
    /// Name of the `OnlineDeployment` object.
    pub deployment: String,
    /// The path in the document that asks for it, such as `environment.conda_file`.
    pub field: String,
    /// The name of the image that a local build makes: `ENDPOINT:DEPLOYMENT`, as the managed product's local one.
    pub tag: String,
    /// What it is built from.
    pub source: ImageSource,
}

/// What an image is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A conda environment on top of an image.
    Conda {
        /// Its specification.
        conda: Conda,
        /// The Dockerfile, for a build in the folder of the specification.
        dockerfile: String,
    },
    /// A folder with a Dockerfile.
    Folder {
        /// The absolute path of the folder, or an address that a build understands.
        folder: String,
        /// The Dockerfile, relative to the folder.
        dockerfile: String,
    },
}

/// A specification of a conda environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conda {
    /// A file, by its absolute path.
    File(String),
    /// The text itself, which a build finds as `conda.yml`.
    Text(String),
}

/// What an image is called until somebody has a name for it.
const BUILD: &str = "REGISTRY/NAME:TAG";
/// What to do with an image that was built.
const THEN: &str = "write environment: {image: REGISTRY/NAME:TAG} in its place, or give --image REGISTRY/NAME:TAG";

/// The name of a specification that is written in the document.
const WRITTEN: &str = "conda.yml";

impl Conda {
    /// The name of the file in the folder of the build.
    #[must_use]
    pub fn file_name(&self) -> &str {
        match self {
            Self::File(path) => path.rsplit('/').next().unwrap_or(path),
            Self::Text(_) => WRITTEN,
        }
    }
}

impl NeedsImage {
    /// The answer where nothing builds images and the Dockerfile of a conda environment is the file `path`; `what` says how
    /// it came there.
    #[must_use]
    pub fn refusal_with(&self, path: &str, what: &str) -> Refusal {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = quote(if folder.is_empty() { "/" } else { folder });
        let file = quote(path);
        let why = format!(
            "Azure builds an image from this, and a cluster does not; {what} {path}: docker build --tag {BUILD} --file {file} \
             {folder} && docker push {BUILD}; then {THEN}"
        );
        Refusal { field: self.field.clone(), why }
    }

    /// The answer where nothing builds images: what to do first. Of a conda environment it ends with the Dockerfile.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let (then, build) = (THEN, BUILD);
        let why = match &self.source {
            ImageSource::Conda { conda, dockerfile } => {
                let folder = match conda {
                    Conda::File(path) => path.rsplit_once('/').map_or("", |(folder, _)| folder),
                    Conda::Text(_) => "FOLDER",
                };
                let folder = quote(if folder.is_empty() { "/" } else { folder });
                format!(
                    "Azure builds an image from this, and a cluster does not: docker build --tag {build} \
                     --file Dockerfile {folder} && docker push {build}; then {then}; the Dockerfile:\n\n{dockerfile}"
                )
            }
            ImageSource::Folder { folder, dockerfile } => {
                let file = if is_address(folder) {
                    dockerfile.clone()
                } else {
                    format!("{}/{dockerfile}", folder.trim_end_matches('/'))
                };
                format!(
                    "Azure builds an image from this, and a cluster does not: docker build --tag {build} --file {} {} && docker push \
                     {build}; then {then}",
                    quote(&file),
                    quote(folder)
                )
            }
        };
        Refusal { field: self.field.clone(), why }
    }
}

fn is_address(folder: &str) -> bool {
    folder.contains("://")
}

/// A word for a shell.
fn quote(word: &str) -> String {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte));
    if is_plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The name of the conda environment in Azure's images.
const ENVIRONMENT: &str = "inf-conda-env";

/// A Dockerfile that does what Azure does with an image and a conda environment: the environment beside the image's own,
/// and then Azure's inference server out of it. A custom server keeps the image's own start, with the environment first
/// in its search path.
pub(super) fn dockerfile(base: &str, conda: &Conda, is_custom: bool) -> String {
    // The form with quotes takes names with spaces.
    let copied = serde_json::Value::from(vec![conda.file_name(), "/var/azureml-app/conda.yml"]);
    let start = if is_custom {
        format!("ENV PATH=/opt/miniconda/envs/{ENVIRONMENT}/bin:$PATH\n")
    } else {
        format!(
            "ENV AZUREML_INFERENCE_PYTHON_PATH=/opt/miniconda/envs/{ENVIRONMENT}/bin\n\
             CMD [\"conda\", \"run\", \"--no-capture-output\", \"-n\", \"{ENVIRONMENT}\", \"runsvdir\", \"/var/runit\"]\n"
        )
    };
    format!(
        "FROM {base}\n\
         WORKDIR /var/azureml-app/\n\
         COPY {copied}\n\
         RUN conda env create -n {ENVIRONMENT} --file /var/azureml-app/conda.yml\n\
         {start}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_takes_the_specification_by_the_name_that_it_has() {
        let conda = Conda::File("/home/me/my env/conda 1.yml".to_owned());
        insta::assert_snapshot!(dockerfile("registry/base:1", &conda, false), @r#"
        FROM registry/base:1
        WORKDIR /var/azureml-app/
        COPY ["conda 1.yml","/var/azureml-app/conda.yml"]
        RUN conda env create -n inf-conda-env --file /var/azureml-app/conda.yml
        ENV AZUREML_INFERENCE_PYTHON_PATH=/opt/miniconda/envs/inf-conda-env/bin
        CMD ["conda", "run", "--no-capture-output", "-n", "inf-conda-env", "runsvdir", "/var/runit"]
        "#);
    }

    #[test]
    fn a_custom_server_starts_as_its_image_says() {
        let text = dockerfile("registry/base:1", &Conda::Text(String::new()), true);
        assert!(
            text.contains("ENV PATH=/opt/miniconda/envs/inf-conda-env/bin:$PATH") && !text.contains("CMD"),
            "{text}"
        );
    }

    #[test]
    fn what_to_do_can_be_pasted_into_a_shell() {
        let source = ImageSource::Folder { folder: "/home/me/it's".to_owned(), dockerfile: "Dockerfile".to_owned() };
        let needs = NeedsImage { deployment: String::new(), field: String::new(), tag: String::new(), source };
        assert!(
            needs.refusal().why.contains(r"--file '/home/me/it'\''s/Dockerfile' '/home/me/it'\''s'"),
            "{}",
            needs.refusal()
        );
    }
}
