//! Many connections at once.

use tokio::process::Command;

use crate::documents::{Deployment, Endpoint};
use crate::model::Model;
use crate::process::Gateway;
use crate::wire::{Connection, request};

#[tokio::test]
async fn the_usual_limit_of_open_files_is_no_limit_of_connections() {
    let model = Model::named("blue").await;
    let endpoint = Endpoint::new(&[Deployment::new("blue", 100, &[model.address])]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("routes.yaml"), endpoint.yaml()).unwrap();
    let mut command = Command::new("sh");
    let gateway = env!("CARGO_BIN_EXE_mooring-gateway");
    command.args(["-c", "ulimit -Sn 100; exec \"$@\"", "sh", gateway, "--source=file", "--file"]).arg(folder.path());
    let gateway = Gateway::run(command, folder).await;
    gateway.wait_for("the files were read", 1).await;
    let mut connections = Vec::new();
    for _ in 0..300 {
        let mut connection = Connection::open(gateway.address).await;
        connection.send(request("POST", "/score", "", "{}")).await;
        assert_eq!(connection.answer().await.status, 200, "after {}", connections.len());
        connections.push(connection);
    }
}
