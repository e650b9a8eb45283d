/**
 * Runs the jobs at their times. A tick every 30 s decides from what SQLite remembers; nothing waits in a timer for
 * hours, so a restart, a suspended machine or a moved clock loses no run and repeats none (`decision.ts`).
 *
 * - No overlap: a job that runs over its next slot runs once more afterwards.
 * - One run catches up with whatever was missed while the agent, the machine or the clock was away.
 * - A run is aborted when the transfer hours end; it goes on in the next ones.
 * - A run cut off by a stop or a crash is owed and made after the next start.
 */
import { StepWatch } from '../base/clock.ts';
import type { Db } from '../base/database.ts';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import type { Clock, Report } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';
import { decide } from './decision.ts';
import { type JobRow, JobRows } from './schema.ts';
import { Timetable } from './timetable.ts';
import type { Window } from './window.ts';

/** Longest sleep between two looks at the clocks: what a moved clock costs at most. */
const tickMs = 30_000;

/** The wall clock moving by itself further than this is told. */
const stepMsMin = 60_000;

/** Default for the largest delay by hospital: spreads a region's hospitals, still well inside a short night. */
const jitterMsDefault = 10 * 60_000;

/** Time for running jobs to end when the agent stops: half of the ten seconds it has for everything. */
const stopMsMax = 5_000;

export interface Job {
  /** Unique, stable, from configuration and code: `pull ehr-fhir`. */
  readonly name: string;
  /** Without one it runs by hand alone. */
  readonly cron?: string | undefined;
  /** Transfer hours; without them any time is allowed. */
  readonly window?: Window;
  /** Ends soon when `signal` aborts. A ConnectorError it throws is reported; any other error is a defect. */
  run(signal: AbortSignal): Promise<void>;
}

export interface SchedulerOptions {
  readonly db: Db;
  readonly clock: Clock;
  readonly report: Report;
  readonly jobs: readonly Job[];
  /** Facility code: spreads the hospitals over the first minutes after a slot. */
  readonly facility?: string;
  /** Largest such delay, milliseconds. Default 10 minutes. */
  readonly jitterMsMax?: number;
}

export interface JobStatus {
  readonly name: string;
  readonly lastDue?: Instant;
  readonly lastStarted?: Instant;
  readonly lastOk?: Instant;
  /** `ok`, `running`, `stopped`, `window` or an error code. */
  readonly lastCode?: string;
  readonly missed: number;
  readonly running: boolean;
  readonly paused: boolean;
  readonly nextDue?: Instant;
}

interface Entry {
  readonly job: Job;
  readonly timetable: Timetable;
  readonly row: JobRow;
  isUnfinished: boolean;
  /** Monotonic; what `sinceStartMs` is measured from. */
  startedAt: number;
  lastRepeated: Instant | undefined;
  run: Run | undefined;
}

interface Run {
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  /** Started by a person: transfer hours do not bind it. */
  readonly byHand: boolean;
}

/** Why a run was aborted: the words that end up in `last_code`. */
type Cut = 'stopped' | 'window';

export class Scheduler {
  readonly #clock: Clock;
  readonly #report: Report;
  readonly #rows: JobRows;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #steps: StepWatch;
  readonly #stopping = new AbortController();
  #wake = new AbortController();
  #loop: Promise<void> | undefined;

  /** @throws ConnectorError SCHEDULE_INVALID */
  constructor({ db, clock, report, jobs, facility = '', jitterMsMax = jitterMsDefault }: SchedulerOptions) {
    this.#clock = clock;
    this.#report = report;
    this.#rows = new JobRows(db);
    this.#steps = new StepWatch(clock);
    this.#entries = new Map(
      jobs.map((job) => {
        const { cron, window, name } = job;
        const options = { cron, jitterSeed: `${facility} ${name}`, jitterMsMax };
        return [name, this.#entry(job, new Timetable(window ? { ...options, window } : options))];
      }),
    );
  }

  /** Twice is a bug. */
  start(): void {
    this.#loop ??= this.#run();
  }

  /**
   * Aborts what runs and waits for it, at most 5 s; what does not end is reported and left behind. Harmless twice.
   *
   * @returns names of the jobs left behind
   */
  async stop(): Promise<readonly string[]> {
    this.#stopping.abort();
    this.#wake.abort();
    // Before the first wait: a job whose connection is cut at the same time has been stopped, and has not failed.
    const running = [...this.#entries.values()].filter(({ run }) => run);
    for (const { run } of running) run?.abort.abort('stopped' satisfies Cut);
    await this.#loop;
    const limit = new AbortController();
    await Promise.race([
      Promise.all(running.map(({ run }) => run?.ended ?? Promise.resolve())),
      this.#clock.sleep(stopMsMax, limit.signal),
    ]);
    limit.abort();
    const left = running.filter(({ run }) => run).map(({ job }) => job.name);
    for (const name of left) this.#tellFailed(name, 'JOB_STUCK', stopMsMax);
    return left;
  }

  /**
   * Runs a job now, by a person's hand: transfer hours and a pause do not bind it, and its next slot stays as it is.
   * Resolves when it has ended well.
   *
   * @throws ConnectorError USAGE for a name nobody has, JOB_BUSY, or what the job threw.
   */
  async runNow(name: string): Promise<void> {
    const entry = this.#find(name);
    if (entry.run || this.#stopping.signal.aborted) throw new ConnectorError('JOB_BUSY', { job: name });
    const error = await this.#begin(entry, true);
    if (error) throw error;
  }

  /** Resolves when no run of this job is under way. @throws ConnectorError USAGE for a name nobody has */
  async whenIdle(name: string): Promise<void> {
    const entry = this.#find(name);
    while (entry.run) await entry.run.ended;
  }

  /** A paused job starts no run of its own; the one that runs is not touched. Kept over restarts. */
  pause(name: string): void {
    this.#setPaused(name, true);
  }

  /** What was due meanwhile is caught up with one run. */
  resume(name: string): void {
    this.#setPaused(name, false);
    this.#wake.abort();
  }

  status(): JobStatus[] {
    const now = this.#clock.now();
    return [...this.#entries.values()].map((entry) => statusOf(entry, now));
  }

  #entry(job: Job, timetable: Timetable): Entry {
    const row = this.#rows.read(job.name);
    const now = this.#clock.now();
    const behindMs = (row.lastDue ?? now) - now;
    const slot = timetable.latest(now);
    // The clock went back by more than a period while we were away: waiting for it to catch up would be silence.
    const isLost = slot !== undefined && behindMs > timetable.periodMs(slot);
    return {
      job,
      timetable,
      row,
      isUnfinished: row.lastCode === 'running' || row.lastCode === 'stopped',
      startedAt: isLost ? -Infinity : this.#clock.monotonic(),
      lastRepeated: undefined,
      run: undefined,
    };
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      this.#wake = new AbortController();
      this.#tick();
      await this.#clock.sleep(this.#sleepMs(), this.#wake.signal);
    }
  }

  #tick(): void {
    const now = this.#clock.now();
    this.#tellStep();
    for (const entry of this.#entries.values()) {
      if (entry.run) this.#cutAtClose(entry, now);
      else if (!entry.row.isPaused) this.#decide(entry, now);
    }
  }

  #decide(entry: Entry, now: Instant): void {
    const { row, timetable, isUnfinished, lastRepeated } = entry;
    const sinceStartMs = this.#clock.monotonic() - entry.startedAt;
    const decision = decide(timetable, { lastDue: row.lastDue, isUnfinished, sinceStartMs, lastRepeated }, now);
    if (decision.act === 'wait') return;
    if (decision.act === 'note' && decision.isRepeated) {
      entry.lastRepeated = decision.slot;
      return;
    }
    row.lastDue = decision.slot;
    if (decision.act === 'note') return this.#save(entry);
    entry.lastRepeated = undefined;
    this.#countMissed(entry, decision.missed);
    void this.#begin(entry, false);
  }

  /** Resolves, never rejects, with the error of a run that did not end well. */
  #begin(entry: Entry, byHand: boolean): Promise<ConnectorError | undefined> {
    const abort = new AbortController();
    entry.isUnfinished = false;
    entry.startedAt = this.#clock.monotonic();
    entry.row.lastStarted = this.#clock.now();
    entry.row.lastCode = 'running';
    this.#save(entry);
    // Not in this turn: a job that throws at once must find its run registered when it ends it.
    const outcome = Promise.resolve().then(() => this.#work(entry, abort.signal));
    entry.run = { abort, byHand, ended: outcome.then(() => undefined) };
    return outcome;
  }

  async #work(entry: Entry, signal: AbortSignal): Promise<ConnectorError | undefined> {
    const { job, row } = entry;
    let error: ConnectorError | undefined;
    try {
      await job.run(signal);
      if (!signal.aborted) row.lastOk = this.#clock.now();
    } catch (cause) {
      error = asConnectorError(job.name, cause);
    }
    if (error && !signal.aborted) this.#tellFailed(job.name, error.code);
    row.lastCode = signal.aborted ? String(signal.reason) : (error?.code ?? 'ok');
    entry.isUnfinished = row.lastCode === ('stopped' satisfies Cut);
    entry.run = undefined;
    this.#save(entry);
    return error;
  }

  #cutAtClose({ run, timetable }: Entry, now: Instant): void {
    if (run && !run.byHand && !timetable.isOpen(now)) run.abort.abort('window' satisfies Cut);
  }

  #countMissed({ job, row }: Entry, missed: number): void {
    if (missed === 0) return;
    row.missed += missed;
    this.#report({ name: 'schedule.missed', word: job.name, numbers: { missedCount: missed } });
  }

  /** Until the next start or the end of the transfer hours, so that neither waits for a whole tick. */
  #sleepMs(): number {
    const now = this.#clock.now();
    const instants = [...this.#entries.values()].map(({ run, timetable, row }) => {
      if (run) return timetable.closesAt(now);
      const slot = timetable.latest(now);
      if (slot !== undefined && slot !== row.lastDue && timetable.startOf(slot) > now) return timetable.startOf(slot);
      return timetable.next(now);
    });
    return Math.max(0, Math.min(tickMs, ...instants.map((at) => (at === undefined ? tickMs : at - now))));
  }

  #tellStep(): void {
    const stepMs = this.#steps.stepMs();
    if (Math.abs(stepMs) > stepMsMin) this.#report({ name: 'clock.stepped', numbers: { stepMs: Math.round(stepMs) } });
    this.#steps.set();
  }

  #tellFailed(job: string, code: ConnectorError['code'], limitMs?: number): void {
    this.#report({ name: 'schedule.failed', word: job, code, ...(limitMs && { numbers: { limitMs } }) });
  }

  #setPaused(name: string, isPaused: boolean): void {
    const entry = this.#find(name);
    entry.row.isPaused = isPaused;
    this.#save(entry);
  }

  /** A full disk must not stop the job that would free it: what cannot be written is remembered until it can. */
  #save({ job, row }: Entry): void {
    try {
      this.#rows.write(job.name, row);
    } catch (cause) {
      const error = new ConnectorError('BUFFER_FAILED', { reason: reasonOf(cause) }, { cause });
      this.#tellFailed(job.name, error.code);
    }
  }

  #find(name: string): Entry {
    const entry = this.#entries.get(name);
    if (!entry) throw new ConnectorError('USAGE', { problem: `There is no job "${name}".` });
    return entry;
  }
}

function asConnectorError(job: string, cause: unknown): ConnectorError {
  return cause instanceof ConnectorError
    ? cause
    : new ConnectorError('JOB_FAILED', { job, reason: reasonOf(cause) }, { cause });
}

function statusOf({ job, row, run, timetable, isUnfinished }: Entry, now: Instant): JobStatus {
  const slot = timetable.latest(now);
  const isOwed = slot !== undefined && row.lastDue !== undefined && (slot > row.lastDue || isUnfinished);
  const nextSlot = isOwed ? slot : timetable.next(now);
  const next = nextSlot === undefined ? undefined : Math.max(now, timetable.startOf(nextSlot));
  return {
    name: job.name,
    ...(row.lastDue !== undefined && { lastDue: row.lastDue }),
    ...(row.lastStarted !== undefined && { lastStarted: row.lastStarted }),
    ...(row.lastOk !== undefined && { lastOk: row.lastOk }),
    ...(row.lastCode !== undefined && { lastCode: row.lastCode }),
    missed: row.missed,
    running: run !== undefined,
    paused: row.isPaused,
    ...(next !== undefined && !row.isPaused && { nextDue: next }),
  };
}
