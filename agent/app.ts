/**
 * The composition root: builds every part from the configuration, starts and stops them in order, and decides
 * nothing. `open` takes the state; `serve` listens, polls and ships. A command that finds no agent running opens,
 * does its one thing and closes.
 */
import { join } from 'node:path';
import { systemClock } from './base/clock.ts';
import { ControlServer } from './base/control.ts';
import { controlPath } from './base/control/address.ts';
import { IdleCollector } from './base/idle-collector.ts';
import { createLog, type Log } from './base/log.ts';
import type { LocalServer } from './base/local-server.ts';
import { acquireLock, type StateLock } from './base/lock.ts';
import { feedWatchdog, watchdogEveryMs } from './base/notify.ts';
import type { HostPort } from './base/options.ts';
import type { Settings } from './base/settings.ts';
import { version } from './base/version.ts';
import type { Config, ProducerConfig } from './config/schema.ts';
import { Acceptor } from './flow/accept.ts';
import { copyJournal } from './flow/backup.ts';
import { Housekeeper } from './flow/housekeeper.ts';
import { giveUpStored } from './flow/retention.ts';
import { recover } from './flow/recover.ts';
import { removeParcelFile } from './flow/shipping.ts';
import type { AfterCommit, Store } from './flow/store.ts';
import {
  buildStatus,
  Cadence,
  CrashMarker,
  DiskGuard,
  metricsServer,
  type Status,
  type TrustedClock,
} from './health/index.ts';
import { ConnectorError, type ErrorCode, reasonOf } from './model/errors.ts';
import type { Clock, PollTally, Progress, Report } from './model/ports.ts';
import { type Job, Scheduler } from './schedule/index.ts';
import { readReceiptKeys } from './ship/receipt.ts';
import { type AppContext, commandHandlers } from './app/commands.ts';
import { Faults } from './app/faults.ts';
import { pullJob, shipJob } from './app/jobs.ts';
import { openStore } from './app/open-store.ts';
import { Pauses } from './app/pauses.ts';
import { ProducerPart } from './app/producer-part.ts';
import { RegisterFolder } from './app/register-folder.ts';
import { type CreateSource, SourcePart, watched } from './app/source-part.ts';
import { type StoppablePart, stopParts } from './app/stop-parts.ts';
import { statusInputs } from './app/status-inputs.ts';
import { loadSources } from './source/registry.ts';

export interface AppOptions {
  readonly clock?: Clock;
  readonly log?: Log;
  /** Without it there is no page for people. */
  readonly openConsole?: OpenConsole | undefined;
}

/** Makes the page for people. Given from above: a console may use all of the agent, so the agent knows none. */
export type OpenConsole = (status: () => Status) => Promise<LocalServer>;

/** What `run --json` tells when everything serves. */
export interface Ready {
  readonly event: 'ready';
  readonly pid: number;
  readonly ports: Readonly<Record<string, number>>;
}

export class App implements AppContext {
  readonly config: Config;
  readonly store: Store;
  readonly settings: Settings;
  readonly time: TrustedClock;
  readonly clock: Clock;
  readonly report: Report;
  readonly disk: DiskGuard;
  readonly faults = new Faults();
  readonly pauses: Pauses;
  readonly sources: ReadonlyMap<string, SourcePart>;
  readonly producers: ReadonlyMap<string, ProducerPart>;
  readonly scheduler: Scheduler;
  readonly housekeeper: Housekeeper;
  readonly registerFolder: RegisterFolder;
  readonly cadence: Cadence;
  readonly crash: CrashMarker;
  readonly startedAt: number;
  readonly #log: Log;
  readonly #lock: StateLock;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[] = [];
  /** What commands and stops have begun, and nobody else waits for. */
  readonly #errands = new Set<Promise<unknown>>();
  readonly #listeners = new Map<string, Progress>();
  readonly #tallies = new Map<string, unknown>();
  readonly #openConsole: OpenConsole | undefined;
  readonly #pages: LocalServer[] = [];
  readonly #garbage: IdleCollector;
  /** Pages that could not be served, and why. */
  readonly unserved = new Map<string, ErrorCode>();
  #control: ControlServer | undefined;
  #isOverBuffer = false;
  #fedAt = Number.NEGATIVE_INFINITY;
  /** Hash of a configuration that was refused while this one runs. */
  refusedConfig: string | undefined;

  private constructor(config: Config, opened: OpenedParts) {
    this.config = config;
    this.#log = opened.log;
    this.#lock = opened.lock;
    this.clock = opened.clock;
    this.report = opened.report;
    this.store = opened.store;
    this.settings = opened.settings;
    this.time = opened.time;
    this.crash = opened.crash;
    this.#openConsole = opened.openConsole;
    this.startedAt = this.clock.now();
    this.#garbage = new IdleCollector(this);
    opened.events.push((event) => this.faults.note(event));
    this.pauses = new Pauses(this.settings);
    this.cadence = new Cadence(this.store.db);
    this.disk = new DiskGuard({
      folder: config.state,
      clock: this.clock,
      report: this.report,
      limits: { fullFraction: 0, fullBytes: config.limits.freeBytesMin },
    });
    const finish = (after: AfterCommit) => this.finish(after);
    const acceptor = new Acceptor(this.store, {
      room: () => (this.disk.status.state === 'full' || this.#isOverBuffer ? 'full' : 'ok'),
      finish,
      onFull: () => this.#watch(this.disk.releaseReserve()),
    });
    this.sources = new Map(
      config.sources.map((source) => [source.name, this.#source(source, acceptor, opened.createSource)]),
    );
    this.producers = new Map(
      config.producers.map((producer, index) => [producer.name, this.#producer(producer, index, opened)]),
    );
    this.registerFolder = new RegisterFolder(this);
    this.housekeeper = new Housekeeper(this.store, {
      clock: this.clock,
      finish,
      duties: [
        () => this.disk.check().then(() => undefined),
        () => this.registerFolder.look(),
        () => this.#lookAtBuffer(),
        () => this.#retain(),
        () => this.time.save(),
        () => this.cadence.save(),
        () => this.#log.sweep(),
        () => this.#feedWatchdog(),
        () => this.#garbage.look(),
      ],
    });
    this.scheduler = new Scheduler({
      db: this.store.db,
      clock: this.clock,
      report: this.report,
      facility: config.facility.code,
      jobs: this.#jobs(),
    });
  }

  /**
   * Takes the state's lock, opens it and puts right what a crash left.
   *
   * @throws ConnectorError STATE_LOCKED, and what opening the state and its keys may throw.
   */
  static async open(
    config: Config,
    { clock = systemClock, log = createLog({ clock }), openConsole }: AppOptions = {},
  ): Promise<App> {
    const lock = acquireLock(config.state);
    try {
      const events: ((event: Parameters<Report>[0]) => void)[] = [];
      const report: Report = (event) => {
        log.report(event);
        for (const listener of events) listener(event);
      };
      const crash = new CrashMarker({ path: join(config.state, 'crash.json'), clock, report });
      const opened = openStore(config, { clock, report });
      const receiptKeys = await Promise.all(config.producers.map((producer) => readReceiptKeys(producer.receiptKeys)));
      const createSource = await loadSources(config.sources);
      await recover(opened.store);
      const parts = { lock, log, clock, report, crash, events, receiptKeys, openConsole, createSource };
      return new App(config, { ...opened, ...parts });
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Listens, polls and ships until `close`. */
  async serve(): Promise<Ready> {
    this.crash.begin();
    // Is there room to take anything in? The reserve is the housekeeper's: writing it would hold up the listeners.
    await this.disk.look();
    this.store.ledger.append('start', this.time.now(), { software: this.store.software, config: this.config.hash });
    const handlers = commandHandlers(this, (work) => this.#errand(work));
    const onDefect = (error: unknown) => this.#defect(error);
    this.#control = await ControlServer.listen(controlPath(this.config.state), { handlers, onDefect });
    const pages = await this.#servePages();
    if (!this.crash.isSafeMode()) await this.#begin();
    this.housekeeper.start();
    for (const part of this.producers.values()) this.#loops.push(part.keepInTouch(this.signal));
    this.report({ name: 'agent.started' });
    const ports = Object.fromEntries(
      [...this.sources.values()].flatMap(({ name, port }) => (port ? [[name, port]] : [])),
    );
    return { event: 'ready', pid: process.pid, ports: { ...ports, ...pages } };
  }

  /** One that cannot be served is told, and keeps nobody's records waiting. */
  async #servePages(): Promise<Record<string, number>> {
    const status = () => this.status();
    const page = await this.#openConsole?.(status);
    return {
      ...(await this.#servePage('metrics', metricsServer(status), this.config.health.metrics)),
      ...(page && (await this.#servePage('console', page, this.config.console.listen))),
    };
  }

  async #servePage(name: string, page: LocalServer, address: HostPort): Promise<Record<string, number>> {
    try {
      const { port } = await page.listen(address);
      this.#pages.push(page);
      return { [name]: port };
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      this.unserved.set(name, error.code);
      this.report({ name: 'page.failed', word: name, code: error.code });
      return {};
    }
  }

  /** An operator's word after repeated crashes: try again. Harmless when there were none. */
  async leaveSafeMode(): Promise<void> {
    if (!this.crash.isSafeMode()) return;
    this.crash.leaveSafeMode();
    if (this.isServing) await this.#begin();
  }

  async #begin(): Promise<void> {
    for (const part of this.sources.values()) await this.#open(part);
    this.scheduler.start();
  }

  /**
   * Finishes what is being answered, breaks off what can be resumed, and gives the state back. Harmless twice.
   *
   * Every part is told at once. A job that ignores it is left after 5 s (`Scheduler.stop`), a sender that does not close
   * is cut off after 7 s (the listeners), and after `withinMs` whatever still runs is left behind, and told. The state is
   * closed in any case, so who is given a name ends the process: nothing that was left behind may go on without it.
   *
   * @returns names of what was left behind
   */
  async close(withinMs = partsMsMax): Promise<readonly string[]> {
    if (this.#stopping.signal.aborted) return [];
    const wasServing = this.#control !== undefined;
    this.#stopping.abort();
    const jobs: string[] = [];
    const parts = this.#parts((stuck) => jobs.push(...stuck));
    const { left, failures } = await stopParts(parts, { clock: this.clock, limitMs: withinMs });
    for (const word of left) {
      this.report({ name: 'agent.part-left', word, code: 'JOB_STUCK', numbers: { limitMs: Math.round(withinMs) } });
    }
    this.time.save();
    this.cadence.save();
    if (wasServing) this.crash.end();
    this.report({ name: 'agent.stopped' });
    this.store.db.close();
    this.#lock.release();
    this.#log.flush();
    if (failures.length > 0) throw failures[0];
    return [...jobs, ...left];
  }

  #parts(onStuck: (jobs: readonly string[]) => void): StoppablePart[] {
    return [
      { name: 'control', stop: async () => this.#control?.close() },
      ...[...this.sources.values()].map((part) => ({ name: part.name, stop: () => part.stop() })),
      { name: 'scheduler', stop: async () => onStuck(await this.scheduler.stop()) },
      { name: 'housekeeper', stop: () => this.housekeeper.stop() },
      ...[...this.producers.values()].map((part) => ({ name: part.name, stop: () => part.close() })),
      { name: 'heartbeat', stop: () => Promise.all(this.#loops) },
      { name: 'pages', stop: () => Promise.all(this.#pages.map((page) => page.stop())) },
      { name: 'commands', stop: () => Promise.allSettled(this.#errands) },
    ];
  }

  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  get isServing(): boolean {
    return this.#control !== undefined;
  }

  status(): Status {
    return buildStatus(statusInputs(this, this.#log.counters(), version));
  }

  /** What a committed transaction has made necessary outside of it: uploads broken off first, then files removed. */
  async finish({ abort, files, spool }: AfterCommit): Promise<void> {
    if (abort.length > 0) await Promise.all([...this.producers.values()].map(({ shipping }) => shipping.abort(abort)));
    await this.store.spool.remove(spool);
    for (const pid of files) await removeParcelFile(this.store, pid);
  }

  /**
   * Runs a job by hand and returns what it did; a run under way is waited for, and watched, first.
   *
   * @throws ConnectorError JOB_BUSY when somebody else was quicker, and what the job throws
   */
  async runNow(name: string, progress: Progress): Promise<unknown> {
    this.#listeners.set(name, progress);
    try {
      await this.scheduler.whenIdle(name);
      await this.scheduler.runNow(name);
      return this.#tallies.get(name);
    } finally {
      this.#listeners.delete(name);
    }
  }

  /** Tells producers of stops at once, whatever the timetable says; trouble is told and tried again by the next run. */
  settleSoon(): void {
    for (const part of this.producers.values()) this.#watch(part.settle());
  }

  async copyJournal(): Promise<void> {
    const folder = this.settings.get('backup-folder');
    if (folder === undefined) return;
    try {
      await copyJournal(this.config.state, folder);
    } catch (error) {
      this.report({ name: 'backup.journal-failed', word: reasonOf(error) });
    }
  }

  async pause(part: string): Promise<void> {
    this.pauses.add(part);
    await this.sources.get(part)?.stop();
    await this.producers.get(part)?.shipping.halt();
    for (const job of this.#jobsOf(part)) this.scheduler.pause(job);
    this.report({ name: 'agent.paused' });
  }

  async resume(part: string): Promise<void> {
    this.pauses.remove(part);
    const source = this.sources.get(part);
    if (source && this.#control) await source.listen();
    for (const job of this.#jobsOf(part)) this.scheduler.resume(job);
    this.report({ name: 'agent.resumed' });
  }

  #jobsOf(part: string): string[] {
    if (this.producers.has(part)) return [shipJob(part)];
    return this.sources.get(part)?.polls ? [pullJob(part)] : [];
  }

  #jobs(): Job[] {
    const pulls = [...this.sources.values()]
      .filter((part) => part.polls)
      .map((part): Job => {
        const name = pullJob(part.name);
        const run = (signal: AbortSignal) => this.#poll(name, part, signal);
        return { name, cron: part.config.schedule, run };
      });
    const ships = [...this.producers.values()].map((part): Job => {
      const name = shipJob(part.name);
      return { name, cron: part.cron, run: (signal) => this.#ship(name, part, signal) };
    });
    return [...pulls, ...ships];
  }

  async #poll(job: string, part: SourcePart, signal: AbortSignal): Promise<void> {
    try {
      const asked = this.#listeners.has(job) ? 'by-hand' : 'by-schedule';
      const tally = await part.poll(signal, (state) => this.#listeners.get(job)?.(state), asked);
      this.#tallies.set(job, tally satisfies PollTally | undefined);
      // A run that had to stop early has said why; that stands until one comes to its end.
      if (tally?.complete || tally?.open) this.faults.clear(part.name);
      const numbers = { offered: tally?.offered ?? 0, ...tally?.outcomes };
      this.report({ name: 'source.poll-finished', source: part.name, numbers });
    } catch (error) {
      if (error instanceof ConnectorError) this.faults.set(part.name, error.code);
      throw error;
    }
  }

  async #ship(job: string, part: ProducerPart, signal: AbortSignal): Promise<void> {
    this.#tallies.set(job, await part.ship(signal, (state) => this.#listeners.get(job)?.(state)));
  }

  #source(config: SourcePart['config'], acceptor: Acceptor, create: CreateSource): SourcePart {
    const { name, succeeds } = config;
    const intake = acceptor.intakeFor(this.store.names.source(name, succeeds));
    const host = {
      name,
      facility: this.config.facility.code,
      intake: watched(intake, () => this.cadence.note(name, this.clock.now())),
      clock: this.clock,
      signal: this.signal,
      report: this.report,
    };
    return new SourcePart(config, host, create);
  }

  #producer(config: ProducerConfig, index: number, opened: OpenedParts): ProducerPart {
    const { store, time, clock, report, faults } = this;
    return new ProducerPart({
      config,
      row: store.producers[index] as Store['producers'][number],
      facility: this.config.facility.code,
      heartbeatMs: this.config.health.heartbeat,
      store,
      time,
      clock,
      report,
      faults,
      receiptKeys: opened.receiptKeys[index] ?? [],
      finish: (after) => this.finish(after),
      isPaused: () => this.pauses.has(config.name),
      status: () => this.status(),
      onNews: () => this.housekeeper.poke(),
    });
  }

  async #open(part: SourcePart): Promise<void> {
    if (this.pauses.has(part.name)) return;
    try {
      await part.listen();
    } catch (error) {
      // One port that is taken must not keep the others from being served.
      if (!(error instanceof ConnectorError)) throw error;
      this.faults.set(part.name, error.code);
      this.report({ name: 'source.failed', source: part.name, code: error.code });
    }
  }

  async #feedWatchdog(): Promise<void> {
    const now = this.clock.monotonic();
    if (now - this.#fedAt < watchdogEveryMs(process.env)) return;
    this.#fedAt = now;
    await feedWatchdog(process.env);
  }

  /** `limits.bufferBytes`: what waits here, by the counters. */
  #lookAtBuffer(): void {
    const { bufferBytes } = this.config.limits;
    if (bufferBytes === undefined) return;
    const waiting = this.store.deliveries.tally().filter(({ state }) => waitingStates.has(state));
    this.#isOverBuffer = waiting.reduce((sum, { bytes }) => sum + bytes, 0) > bufferBytes;
  }

  async #retain(): Promise<void> {
    const { afterStored } = this.config.retention;
    if (afterStored === 'never' || !this.time.isTrusted()) return;
    for (const producer of this.store.producers) {
      for (let after = giveUpStored(this.store, producer, afterStored); after; ) {
        await this.finish(after);
        after = giveUpStored(this.store, producer, afterStored);
      }
    }
  }

  #watch(work: Promise<unknown>): void {
    this.#errand(work).catch((error: unknown) => this.#defect(error));
  }

  /** A stop waits for it; its failure belongs to who has begun it. */
  async #errand<T>(work: Promise<T>): Promise<T> {
    this.#errands.add(work);
    try {
      return await work;
    } finally {
      this.#errands.delete(work);
    }
  }

  /** Not an error of the world but of ours: the process ends, and the service manager starts it anew. */
  #defect(error: unknown): void {
    this.#log.flush();
    setImmediate(() => {
      throw error;
    });
  }
}

/**
 * How long the parts may take to end: of the ten seconds in which SIGTERM is answered, what closing the state leaves.
 * That is a checkpoint and three syncs, on a disk that may be busy.
 */
export const partsMsMax = 7_500;

/** States of which the payload is still here. */
const waitingStates: ReadonlySet<string> = new Set(['held', 'ready', 'packed', 'stored']);

interface OpenedParts {
  readonly store: Store;
  readonly settings: Settings;
  readonly time: TrustedClock;
  readonly lock: StateLock;
  readonly log: Log;
  readonly clock: Clock;
  readonly report: Report;
  readonly crash: CrashMarker;
  readonly events: ((event: Parameters<Report>[0]) => void)[];
  readonly receiptKeys: Awaited<ReturnType<typeof readReceiptKeys>>[];
  readonly openConsole: OpenConsole | undefined;
  readonly createSource: CreateSource;
}
