//! Databases beside an agent: each is an instance of its own in the agent's project, with credentials of its own. What
//! each needs of the engine, how it is asked whether it works, and what the agent is told of it.
//!
//! Images keep the contract of the official ones: the variables that make the first user and database, and the folder
//! of the data. Their entrypoints begin as root and step down; Redis needs no entrypoint, so it never is root. No spec
//! has a port, so that nothing is published or routed: siblings in the project's network need none.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::ImageRef;
use crate::probe::{Check, Probe};
use crate::quantity::{Bytes, Span};
use crate::spec::{Access, InstanceSpec, VolumeMount};
use crate::{Invalid, Name, Secret};

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Addon {
    Mysql,
    Mongo,
    Redis,
    Postgres,
}

/// The user and the database that are made at its first start.
const USER: &str = "app";
const DATABASE: &str = "app";
/// Redis has no files but its data, and needs no name for its user.
const NOBODY: &str = "65532:65532";
/// No folder of any image, so that it is made for [`NOBODY`].
const REDIS_DATA: &str = "/var/lib/ryokan";

/// The password is in a file that only Redis reads, and in no argument. Two thirds of the memory are for data: the rest is
/// for the copy that is written in the background, and being full refuses writes instead of killing.
const REDIS: &str = r#"limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)
case "$limit" in '' | *[!0-9]*) limit=0 ;; esac
exec redis-server - <<END
requirepass $REDIS_PASSWORD
dir /var/lib/ryokan
appendonly yes
maxmemory $((limit / 3 * 2))
END
"#;

impl Addon {
    pub const ALL: [Self; 4] = [Self::Mysql, Self::Mongo, Self::Redis, Self::Postgres];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mongo => "mongo",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// What it runs unless the operator names another image.
    pub const fn default_image(self) -> &'static str {
        match self {
            Self::Mysql => "docker.io/library/mysql:8.4",
            Self::Mongo => "docker.io/library/mongo:7.0",
            Self::Redis => "docker.io/library/redis:7.4",
            Self::Postgres => "docker.io/library/postgres:17",
        }
    }

    pub const fn port(self) -> u16 {
        match self {
            Self::Mysql => 3306,
            Self::Mongo => 27017,
            Self::Redis => 6379,
            Self::Postgres => 5432,
        }
    }

    /// Its own secret variables, random at its creation. The first is the password that the agent is told.
    pub const fn secrets(self) -> &'static [&'static str] {
        match self {
            Self::Mysql => &["MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD"],
            Self::Mongo => &["MONGO_INITDB_ROOT_PASSWORD"],
            Self::Redis => &["REDIS_PASSWORD"],
            Self::Postgres => &["POSTGRES_PASSWORD"],
        }
    }

    /// The secret variable whose value the agent is told.
    pub const fn password(self) -> &'static str {
        self.secrets()[0]
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mongo => "mongodb",
            Self::Redis => "redis",
            // Not `postgres`, which some drivers refuse.
            Self::Postgres => "postgresql",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Mysql | Self::Postgres => DATABASE,
            Self::Mongo => "app?authSource=admin",
            Self::Redis => "0",
        }
    }

    /// Where the project's instances find it, without credentials.
    pub fn address(self, host: &Name) -> String {
        format!("{}://{host}:{}", self.scheme(), self.port())
    }

    /// The same with credentials. The password must be URL-safe as it is.
    fn url(self, host: &Name, password: &str) -> String {
        // By name, since not all clients of Redis take an empty one for it.
        let user = if self == Self::Redis { "default" } else { USER };
        format!("{}://{user}:{password}@{host}:{}/{}", self.scheme(), self.port(), self.path())
    }

    /// `name` is the database's own.
    pub fn spec(self, image: ImageRef, name: &Name) -> InstanceSpec {
        let mut spec = InstanceSpec::new(image);
        let plain = |list: &[(&str, &str)]| {
            list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let (memory, path, env) = match self {
            Self::Mysql => {
                (1024, "/var/lib/mysql", plain(&[("MYSQL_USER", USER), ("MYSQL_DATABASE", DATABASE)]))
            }
            Self::Mongo => (1024, "/data/db", plain(&[("MONGO_INITDB_ROOT_USERNAME", USER)])),
            Self::Redis => (256, REDIS_DATA, plain(&[])),
            Self::Postgres => (
                512,
                "/var/lib/postgresql/data",
                plain(&[
                    ("POSTGRES_USER", USER),
                    ("POSTGRES_DB", DATABASE),
                    // Below the volume, which is the same in images of any version.
                    ("PGDATA", "/var/lib/postgresql/data/pgdata"),
                ]),
            ),
        };
        spec.env = env;
        spec.secret_env = self.secrets().iter().map(|name| (*name).to_owned()).collect();
        spec.resources.memory = Bytes::mebi(memory);
        spec.volumes = vec![VolumeMount { name: "data".into(), path: path.into(), read_only: false }];
        if self == Self::Redis {
            spec.command = Some(["sh", "-c", REDIS].map(str::to_owned).into());
            spec.security.user = Some(NOBODY.into());
            spec.security.read_only_root = true;
            spec.security.tmpfs = vec!["/tmp".into()];
        } else {
            // What it takes to give the data to the image's own user, and to become that.
            let needed = ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"];
            spec.security.capabilities = needed.map(str::to_owned).into();
        }
        let check = Check::Command { command: ["sh", "-c", &self.check(name)].map(str::to_owned).into() };
        let probe = |interval, start_period, retries| Probe {
            check: check.clone(),
            interval: Span::seconds(interval),
            timeout: Span::seconds(10),
            start_period: Span::seconds(start_period),
            retries,
        };
        // A first start makes the files of a whole database.
        spec.startup = Some(probe(2, 180, 5));
        spec.readiness = Some(probe(15, 30, 4));
        spec.stop_grace = Span::seconds(60);
        spec.gateway.access = Access::Private;
        spec
    }

    /// A question that only a working database answers, asked with the agent's own credentials, which are in no
    /// argument. By its name: while the files are made, it listens to itself only.
    fn check(self, name: &Name) -> String {
        match self {
            Self::Mysql => format!(
                "client=$(command -v mysql || command -v mariadb) && MYSQL_PWD=\"$MYSQL_PASSWORD\" exec \"$client\" \
                 -h {name} -u {USER} -e 'SELECT 1' {DATABASE} >/dev/null"
            ),
            Self::Mongo => format!(
                "exec mongosh --quiet --host {name} --eval 'db.getSiblingDB(\"admin\").auth(\"{USER}\", \
                 process.env.MONGO_INITDB_ROOT_PASSWORD).ok || quit(1)' >/dev/null"
            ),
            // It ends well whatever it was answered.
            Self::Redis => format!(
                "said=$(REDISCLI_AUTH=\"$REDIS_PASSWORD\" redis-cli -h {name} ping 2>&1); echo \"$said\"; \
                 [ \"$said\" = PONG ]"
            ),
            Self::Postgres => format!(
                "PGPASSWORD=\"$POSTGRES_PASSWORD\" exec psql -XqAt -h {name} -U {USER} -d {DATABASE} -c 'SELECT 1' \
                 >/dev/null"
            ),
        }
    }

    fn variables(self, host: &Name, password: &str) -> Vec<(&'static str, String)> {
        let (url, port) = (self.url(host, password), self.port().to_string());
        let (host, password) = (host.to_string(), password.to_owned());
        let (user, database) = (USER.to_owned(), DATABASE.to_owned());
        match self {
            Self::Mysql => vec![
                ("MYSQL_URL", url),
                ("MYSQL_HOST", host),
                ("MYSQL_PORT", port),
                ("MYSQL_USER", user),
                ("MYSQL_PASSWORD", password),
                ("MYSQL_DATABASE", database),
            ],
            Self::Mongo => vec![
                ("MONGO_URL", url.clone()),
                ("MONGODB_URI", url),
                ("MONGO_HOST", host),
                ("MONGO_PORT", port),
                ("MONGO_USER", user),
                ("MONGO_PASSWORD", password),
                ("MONGO_DATABASE", database),
            ],
            Self::Redis => vec![
                ("REDIS_URL", url),
                ("REDIS_HOST", host),
                ("REDIS_PORT", port),
                ("REDIS_PASSWORD", password),
            ],
            Self::Postgres => vec![
                ("POSTGRES_URL", url),
                ("PGHOST", host),
                ("PGPORT", port),
                ("PGUSER", user),
                ("PGPASSWORD", password),
                ("PGDATABASE", database),
            ],
        }
    }
}

/// What an agent is told of the databases beside it, each with its name and password.
pub fn variables<'a>(
    beside: impl IntoIterator<Item = (Addon, &'a Name, &'a Secret)>,
) -> BTreeMap<String, Secret> {
    let (mut all, mut relational) = (BTreeMap::new(), Vec::new());
    for (addon, name, password) in beside {
        if matches!(addon, Addon::Mysql | Addon::Postgres) {
            relational.push(addon.url(name, password.expose()));
        }
        let variables = addon.variables(name, password.expose());
        all.extend(variables.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value))));
    }
    // With two, nobody knows which is meant.
    if let [url] = relational.as_slice() {
        all.insert("DATABASE_URL".to_owned(), Secret::new(url.as_str()));
    }
    all
}

impl fmt::Display for Addon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Addon {
    type Err = Invalid;

    fn from_str(s: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|addon| addon.as_str() == s);
        known.ok_or_else(|| Invalid::new("addon", format!("`{s}` is none: mysql, mongo, redis or postgres")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> Name {
        "bot".parse().unwrap()
    }

    fn spec(addon: Addon) -> InstanceSpec {
        addon.spec(addon.default_image().parse().unwrap(), &agent().addon(addon))
    }

    #[test]
    fn each_is_a_valid_instance_that_nothing_reaches_from_outside() {
        for addon in Addon::ALL {
            let spec = spec(addon);
            spec.validate().unwrap();
            assert!(spec.ports.is_empty(), "{addon}: nothing is published, and nothing routed");
            assert!(spec.single_writer && spec.volumes.len() == 1);
            assert_eq!(spec.gateway.access, Access::Private);
            assert!(spec.startup.is_some() && spec.readiness.is_some());
            assert_eq!(addon.as_str().parse::<Addon>().unwrap(), addon);
            assert_eq!(serde_json::to_value(addon).unwrap(), addon.as_str());
            assert!(addon.secrets().iter().all(|name| spec.secret_env.contains(*name)));
            assert_eq!(spec.secret_env.len(), addon.secrets().len());
        }
        assert!("oracle".parse::<Addon>().is_err());
    }

    #[test]
    fn official_images_are_given_what_they_ask_for() {
        let env = |addon: Addon| spec(addon).env;
        assert_eq!(env(Addon::Postgres)["POSTGRES_USER"], "app");
        assert!(
            env(Addon::Postgres)["PGDATA"]
                .starts_with(&format!("{}/", spec(Addon::Postgres).volumes[0].path))
        );
        assert_eq!(
            (&*env(Addon::Mysql)["MYSQL_USER"], &*env(Addon::Mysql)["MYSQL_DATABASE"]),
            ("app", "app")
        );
        let mongo = spec(Addon::Mongo);
        assert_eq!((&*mongo.env["MONGO_INITDB_ROOT_USERNAME"], &*mongo.volumes[0].path), ("app", "/data/db"));
        assert!(mongo.secret_env.contains("MONGO_INITDB_ROOT_PASSWORD"));
        assert_eq!(mongo.command, None, "its entrypoint makes the user");
        for addon in [Addon::Mysql, Addon::Mongo, Addon::Postgres] {
            let kept = spec(addon).security.capabilities;
            assert_eq!(
                kept.iter().map(String::as_str).collect::<Vec<_>>(),
                ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"]
            );
        }
        let redis = spec(Addon::Redis);
        assert!(redis.security.capabilities.is_empty() && redis.security.read_only_root);
        assert_eq!(redis.security.user.as_deref(), Some(NOBODY));
        assert!(REDIS.contains(&format!("dir {REDIS_DATA}\n")) && redis.volumes[0].path == REDIS_DATA);
    }

    #[test]
    fn probes_ask_by_name_with_credentials_that_are_in_no_argument() {
        for (addon, client, secret) in [
            (Addon::Mysql, "-h mysql-bot", "MYSQL_PWD=\"$MYSQL_PASSWORD\" exec"),
            (Addon::Mongo, "--host mongo-bot", "process.env.MONGO_INITDB_ROOT_PASSWORD"),
            (Addon::Redis, "-h redis-bot", "REDISCLI_AUTH=\"$REDIS_PASSWORD\" redis-cli"),
            (Addon::Postgres, "-h postgres-bot", "PGPASSWORD=\"$POSTGRES_PASSWORD\" exec"),
        ] {
            let Check::Command { command } = spec(addon).readiness.unwrap().check else { panic!("{addon}") };
            assert!(command[2].contains(client) && command[2].contains(secret), "{command:?}");
        }
    }

    #[test]
    fn an_agent_is_told_by_address_and_in_parts() {
        let password = Secret::new("pw");
        let told = |kinds: &[Addon]| {
            let beside: Vec<_> = kinds.iter().map(|kind| (*kind, agent().addon(*kind))).collect();
            let all = variables(beside.iter().map(|(kind, name)| (*kind, name, &password)));
            all.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect::<BTreeMap<_, _>>()
        };
        let all = told(&[Addon::Mysql, Addon::Mongo, Addon::Redis]);
        assert_eq!(all["MYSQL_URL"], "mysql://app:pw@mysql-bot:3306/app");
        assert_eq!(all["DATABASE_URL"], all["MYSQL_URL"]);
        assert_eq!(all["MONGO_URL"], "mongodb://app:pw@mongo-bot:27017/app?authSource=admin");
        assert_eq!(all["MONGODB_URI"], all["MONGO_URL"]);
        assert_eq!(all["REDIS_URL"], "redis://default:pw@redis-bot:6379/0");
        assert_eq!(
            (&*all["REDIS_HOST"], &*all["REDIS_PORT"], &*all["REDIS_PASSWORD"]),
            ("redis-bot", "6379", "pw")
        );
        let postgres = told(&[Addon::Postgres]);
        assert_eq!(postgres["DATABASE_URL"], "postgresql://app:pw@postgres-bot:5432/app");
        let parts =
            ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"].map(|name| postgres[name].as_str());
        assert_eq!(parts, ["postgres-bot", "5432", "app", "pw", "app"]);
        assert!(!told(&[Addon::Mysql, Addon::Postgres]).contains_key("DATABASE_URL"), "which of the two?");
        assert!(!told(&[Addon::Redis]).contains_key("DATABASE_URL"));
        assert!(told(&[]).is_empty());
        assert_eq!(Addon::Redis.address(&agent().addon(Addon::Redis)), "redis://redis-bot:6379");
    }
}
