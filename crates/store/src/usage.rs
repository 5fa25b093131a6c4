//! Samples of usage, and what they came to for each closed interval.
//!
//! An interval is sealed before it is summed up: from then on no sample that would belong to it is taken any more, so what
//! is summed up again later gives the same. Samples go once they are summed up and old; the newest of a series stays,
//! since the next one is measured from it.

use ryokan_model::price::Carried;
use ryokan_model::usage::{Interval, Sample, Usage};
use ryokan_model::{InstanceId, Millis, ProjectId, Sats};

use crate::{Result, Row, Tx, params};

/// Up to here (the end of an interval) no sample is taken any more.
const SEALED: &str = "metering.sealed";
/// Up to here everything is summed up.
const CLOSED: &str = "metering.closed";
/// Sums of intervals before this one were forgotten.
const FORGOTTEN: &str = "metering.forgotten";
/// From here on all samples are kept.
const KEPT: &str = "metering.kept";

/// A sample and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSample {
    pub instance: InstanceId,
    pub project: ProjectId,
    pub epoch: String,
    pub sample: Sample,
}

/// What one instance used in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceUsage {
    pub project: ProjectId,
    pub interval: Interval,
    pub instance: InstanceId,
    pub usage: Usage,
    pub microsats: i64,
}

/// A closed interval of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BilledInterval {
    pub project: ProjectId,
    pub interval: Interval,
    /// `None`: billing was off.
    pub price_version: Option<i64>,
    pub charged: Sats,
    pub carried: Carried,
}

/// What a project used over some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageSum {
    pub start: Millis,
    pub usage: Usage,
    pub microsats: i64,
}

/// Columns are signed; nothing real is that large.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row, column: &str) -> Result<u64> {
    Ok(u64::try_from(row.int(column)?).unwrap_or(0))
}

fn sample(row: &Row) -> Result<UsageSample> {
    Ok(UsageSample {
        instance: row.parse("instance_id")?,
        project: row.parse("project_id")?,
        epoch: row.text("epoch")?,
        sample: Sample {
            at: Millis(row.int("at")?),
            baseline: row.bool("baseline")?,
            cpu_nanos: unsigned(row, "cpu_nanos")?,
            memory_bytes: unsigned(row, "memory_bytes")?,
            disk_bytes: unsigned(row, "disk_bytes")?,
            network_bytes: unsigned(row, "network_bytes")?,
            gpu_millis: unsigned(row, "gpu_millis")?,
        },
    })
}

fn usage(row: &Row) -> Result<Usage> {
    Ok(Usage {
        cpu_nanos: unsigned(row, "cpu_nanos")?,
        memory_byte_millis: unsigned(row, "memory_byte_millis")?,
        disk_byte_millis: unsigned(row, "disk_byte_millis")?,
        network_bytes: unsigned(row, "network_bytes")?,
        gpu_millis: unsigned(row, "gpu_millis")?,
    })
}

fn billed(row: &Row) -> Result<BilledInterval> {
    let start = Millis(row.int("start")?);
    Ok(BilledInterval {
        project: row.parse("project_id")?,
        interval: Interval::starting(start)
            .ok_or_else(|| crate::StoreError::Other("an interval is not aligned".into()))?,
        price_version: row.opt_int("price_version")?,
        charged: Sats(row.int("charged")?),
        carried: Carried([
            row.int("rest_cpu")?,
            row.int("rest_memory")?,
            row.int("rest_disk")?,
            row.int("rest_network")?,
            row.int("rest_gpu")?,
        ]),
    })
}

impl Tx<'_> {
    fn metering_mark(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.setting(name)?.and_then(|value| value.parse().ok()))
    }

    /// Takes samples; the number taken. One that is not after its series' last, or is of a sealed interval, is left out:
    /// what its counters say, the next one says too.
    pub fn add_samples(&mut self, samples: &[UsageSample]) -> Result<u64> {
        self.lock("metering")?;
        let sealed = self.metering_mark(SEALED)?.unwrap_or(i64::MIN);
        let mut taken = 0;
        for UsageSample { instance, project, epoch, sample } in samples {
            if sample.at.0 <= sealed {
                continue;
            }
            taken += self.execute(
                "INSERT INTO usage_samples (instance_id, epoch, at, project_id, baseline, cpu_nanos, memory_bytes,
                    disk_bytes, network_bytes, gpu_millis)
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
                 WHERE NOT EXISTS (SELECT 1 FROM usage_samples WHERE instance_id = $1 AND epoch = $2 AND at >= $3)",
                params![
                    instance.to_string(),
                    epoch,
                    sample.at.0,
                    project.to_string(),
                    sample.baseline,
                    signed(sample.cpu_nanos),
                    signed(sample.memory_bytes),
                    signed(sample.disk_bytes),
                    signed(sample.network_bytes),
                    signed(sample.gpu_millis)
                ],
            )?;
        }
        Ok(taken)
    }

    /// From now on no sample of this interval or an earlier one is taken.
    pub fn seal_interval(&mut self, interval: Interval, now: Millis) -> Result<()> {
        self.lock("metering")?;
        if self.metering_mark(SEALED)?.is_none_or(|sealed| sealed < interval.end().0) {
            self.put_setting(SEALED, &interval.end().0.to_string(), now.0)?;
        }
        Ok(())
    }

    /// Everything of this interval and the earlier ones is summed up.
    pub fn close_interval(&mut self, interval: Interval, now: Millis) -> Result<()> {
        self.put_setting(CLOSED, &interval.end().0.to_string(), now.0)
    }

    /// The first interval that has samples and is not closed.
    pub fn next_open_interval(&mut self) -> Result<Option<Interval>> {
        let closed = self.metering_mark(CLOSED)?.unwrap_or(i64::MIN);
        let row = self.query_one("SELECT min(at) AS at FROM usage_samples WHERE at > $1", params![closed])?;
        Ok(row.opt_int("at")?.map(|at| Interval::of(Millis(at))))
    }

    /// Up to when everything is summed up.
    pub fn closed_until(&mut self) -> Result<Option<Millis>> {
        Ok(self.metering_mark(CLOSED)?.map(Millis))
    }

    /// From when on all samples are kept.
    pub fn samples_kept_from(&mut self) -> Result<Millis> {
        Ok(Millis(self.metering_mark(KEPT)?.unwrap_or(i64::MIN)))
    }

    /// Whether any closed interval was forgotten yet.
    pub fn forgot_intervals(&mut self) -> Result<bool> {
        Ok(self.setting(FORGOTTEN)?.is_some())
    }

    /// Projects with samples in the interval.
    pub fn projects_sampled(&mut self, interval: Interval) -> Result<Vec<ProjectId>> {
        let rows = self.query(
            "SELECT DISTINCT project_id FROM usage_samples WHERE at > $1 AND at <= $2 ORDER BY project_id",
            params![interval.start().0, interval.end().0],
        )?;
        rows.iter().map(|row| row.parse("project_id")).collect()
    }

    /// The project's samples of the interval and, of each of their series, the one just before it: by series and time.
    pub fn samples_of(&mut self, project: ProjectId, interval: Interval) -> Result<Vec<UsageSample>> {
        let rows = self.query(
            "SELECT s.* FROM usage_samples s JOIN (
                SELECT DISTINCT instance_id, epoch FROM usage_samples
                WHERE at > $2 AND at <= $3 AND project_id = $1
             ) AS series ON series.instance_id = s.instance_id AND series.epoch = s.epoch
             WHERE s.at <= $3 AND s.at >= coalesce((
                SELECT max(before.at) FROM usage_samples before
                WHERE before.instance_id = s.instance_id AND before.epoch = s.epoch AND before.at <= $2
             ), $2)
             ORDER BY s.instance_id, s.epoch, s.at",
            params![project.to_string(), interval.start().0, interval.end().0],
        )?;
        rows.iter().map(sample).collect()
    }

    pub fn insert_usage(&mut self, used: &InstanceUsage) -> Result<()> {
        let usage = &used.usage;
        self.execute(
            "INSERT INTO usage_intervals (project_id, start, instance_id, cpu_nanos, memory_byte_millis,
                disk_byte_millis, network_bytes, gpu_millis, microsats)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            params![
                used.project.to_string(),
                used.interval.start().0,
                used.instance.to_string(),
                signed(usage.cpu_nanos),
                signed(usage.memory_byte_millis),
                signed(usage.disk_byte_millis),
                signed(usage.network_bytes),
                signed(usage.gpu_millis),
                used.microsats
            ],
        )
        .map(drop)
    }

    /// What the project's instances used in an interval.
    pub fn usage_of(&mut self, project: ProjectId, interval: Interval) -> Result<Vec<InstanceUsage>> {
        let rows = self.query(
            "SELECT * FROM usage_intervals WHERE project_id = $1 AND start = $2 ORDER BY instance_id",
            params![project.to_string(), interval.start().0],
        )?;
        rows.iter()
            .map(|row| {
                Ok(InstanceUsage {
                    project,
                    interval,
                    instance: row.parse("instance_id")?,
                    usage: usage(row)?,
                    microsats: row.int("microsats")?,
                })
            })
            .collect()
    }

    /// Sums of usage in `[from, to)` by steps of `step` milliseconds, the oldest first; of one instance, if it is named.
    pub fn usage_sums(
        &mut self,
        project: ProjectId,
        instance: Option<InstanceId>,
        from: Millis,
        to: Millis,
        step: i64,
        limit: u32,
    ) -> Result<Vec<UsageSum>> {
        let rows = self.query(
            "SELECT start - start % $5 AS step_start, CAST(sum(cpu_nanos) AS BIGINT) AS cpu_nanos,
                CAST(sum(memory_byte_millis) AS BIGINT) AS memory_byte_millis,
                CAST(sum(disk_byte_millis) AS BIGINT) AS disk_byte_millis,
                CAST(sum(network_bytes) AS BIGINT) AS network_bytes, CAST(sum(gpu_millis) AS BIGINT) AS gpu_millis,
                CAST(sum(microsats) AS BIGINT) AS microsats
             FROM usage_intervals WHERE project_id = $1 AND start >= $2 AND start < $3
                AND (CAST($4 AS TEXT) IS NULL OR instance_id = $4)
             GROUP BY start - start % $5 ORDER BY step_start LIMIT $6",
            params![project.to_string(), from.0, to.0, instance.map(|i| i.to_string()), step, limit],
        )?;
        rows.iter()
            .map(|row| {
                Ok(UsageSum {
                    start: Millis(row.int("step_start")?),
                    usage: usage(row)?,
                    microsats: row.int("microsats")?,
                })
            })
            .collect()
    }

    /// An interval is closed once; again is `UniqueViolation`.
    pub fn insert_billed(&mut self, b: &BilledInterval) -> Result<()> {
        let [cpu, memory, disk, network, gpu] = b.carried.0;
        self.execute(
            "INSERT INTO billed_intervals (project_id, start, price_version, charged, rest_cpu, rest_memory, rest_disk,
                rest_network, rest_gpu)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            params![
                b.project.to_string(),
                b.interval.start().0,
                b.price_version,
                b.charged.0,
                cpu,
                memory,
                disk,
                network,
                gpu
            ],
        )
        .map(drop)
    }

    /// The project's last closed interval.
    pub fn last_billed(&mut self, project: ProjectId) -> Result<Option<BilledInterval>> {
        self.query_opt(
            "SELECT * FROM billed_intervals WHERE project_id = $1 ORDER BY start DESC LIMIT 1",
            params![project.to_string()],
        )?
        .as_ref()
        .map(billed)
        .transpose()
    }

    /// Closed intervals by project and time, after this one.
    pub fn billed_after(&mut self, project: &str, start: Millis, limit: u32) -> Result<Vec<BilledInterval>> {
        let rows = self.query(
            "SELECT * FROM billed_intervals WHERE project_id > $1 OR (project_id = $1 AND start > $2)
             ORDER BY project_id, start LIMIT $3",
            params![project, start.0, limit],
        )?;
        rows.iter().map(billed).collect()
    }

    /// Charges for usage of intervals that nobody closed, or closed without charging: at most 100.
    pub fn stray_charges(&mut self) -> Result<Vec<String>> {
        let rows = self.query(
            "SELECT t.id FROM ledger_transactions t LEFT JOIN billed_intervals b
                ON b.project_id = t.project_id AND b.start = t.interval_start
             WHERE t.interval_start IS NOT NULL AND t.interval_start >= (SELECT coalesce(min(start), 0) FROM billed_intervals)
                AND coalesce(b.charged, 0) = 0
             ORDER BY t.id LIMIT 100",
            params![],
        )?;
        rows.iter().map(|row| row.text("id")).collect()
    }

    /// Forgets samples before `before` that are summed up, but for the newest of each series unless that is older than
    /// `dead`; up to `limit`.
    pub fn purge_samples(&mut self, before: Millis, dead: Millis, limit: u32, now: Millis) -> Result<u64> {
        self.lock("metering")?;
        let Some(closed) = self.metering_mark(CLOSED)? else { return Ok(0) };
        // Whole intervals, so that it is known which can be summed up again.
        let horizon = Interval::of(Millis(before.0.min(closed))).start();
        if self.metering_mark(KEPT)?.is_none_or(|kept| kept < horizon.0) {
            self.put_setting(KEPT, &horizon.0.to_string(), now.0)?;
        }
        self.execute(
            "DELETE FROM usage_samples WHERE (instance_id, epoch, at) IN (
                SELECT s.instance_id, s.epoch, s.at FROM usage_samples s
                WHERE s.at <= $1 AND (s.at <= $2 OR EXISTS (
                    SELECT 1 FROM usage_samples later WHERE later.instance_id = s.instance_id
                        AND later.epoch = s.epoch AND later.at > s.at AND later.at <= $1))
                LIMIT $3)",
            params![horizon.0, dead.0, limit],
        )
    }

    /// Forgets closed intervals before `before`, but for each project's last, whose remainders go on; up to `limit`.
    pub fn purge_usage(&mut self, before: Millis, limit: u32) -> Result<u64> {
        let gone = self.execute(
            "DELETE FROM usage_intervals WHERE (project_id, start, instance_id) IN (
                SELECT project_id, start, instance_id FROM usage_intervals WHERE start < $1 LIMIT $2)",
            params![before.0, limit],
        )?;
        let gone = gone
            + self.execute(
                "DELETE FROM billed_intervals WHERE (project_id, start) IN (
                    SELECT b.project_id, b.start FROM billed_intervals b WHERE b.start < $1 AND EXISTS (
                        SELECT 1 FROM billed_intervals later
                        WHERE later.project_id = b.project_id AND later.start > b.start AND later.start < $1)
                    LIMIT $2)",
                params![before.0, limit],
            )?;
        if gone > 0 {
            self.put_setting(FORGOTTEN, &before.0.to_string(), before.0)?;
        }
        Ok(gone)
    }
}
