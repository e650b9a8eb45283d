/**
 * Everything that runs in the demo, in one folder: the hospital's systems, the agent, the producer. What the story does
 * with them goes through here, so that nothing is left behind when it ends, however it ends.
 *
 * ```
 * FOLDER/site/            the harness's folder, under this name once it is kept: hospital/ producer/ data/
 * FOLDER/opened/PARCEL/   what the public tools took out
 * FOLDER/peers/KIND/      what the peers hold (with --keep)
 * FOLDER/telemetry/       logs, metrics, heartbeats, as far as they were written
 * ```
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { callControl } from '../../agent/base/control/client.ts';
import { controlPath } from '../../agent/base/control/address.ts';
import type { ControlArgs } from '../../agent/base/control/frames.ts';
import type { ShipTally } from '../../agent/flow/shipping.ts';
import type { ProgressBar } from '../../agent/base/terminal.ts';
import { isError } from '../../agent/model/errors.ts';
import type { PollTally, Progress } from '../../agent/model/ports.ts';
import { facility, Hospital, producerName } from '../peers/hospital/hospital.ts';
import type { Offered } from './accounting.ts';
import { countCanaries } from './canaries.ts';
import type { Pacs } from './dicom.ts';
import type { FhirServers } from './fhir.ts';
import type { Hl7Feed } from './hl7.ts';
import { ParcelOpener } from './parcels.ts';
import type { Ssmix2Storage } from './ssmix2.ts';
import type { Override, Stage } from './stage.ts';
import type { Story } from './story.ts';

/** Bytes a second: slow enough that an upload can be interrupted by hand, fast enough for a demo. */
const bandwidth = '32M';

const bytesPerMB = 1_000_000;

/** An upload is on its way once so much of it has arrived. */
const underWayBytes = 1024 * 1024;

const lookEveryMs = 10;

/** What a peer must have answered by; everything here is on one machine. */
const patienceMs = 60_000;

export const siteOverrides: readonly Override[] = [
  {
    key: 'producers[].bandwidth',
    production: 'unlimited',
    demo: bandwidth,
    why: 'uploads can be interrupted',
  },
  { key: 'producers[].schedule', production: '*/15 * * * *', demo: 'by hand', why: 'it ships on our word' },
  { key: 'health.heartbeat', production: '60s', demo: '10s', why: 'there are some to look at' },
  { key: 'intake --reserve', production: '10G', demo: '0', why: 'this disk may be smaller' },
];

export class Site {
  readonly folder: string;
  readonly hospital: Hospital;
  readonly stages: readonly Stage[];
  readonly feed: Hl7Feed;
  readonly storage: Ssmix2Storage;
  readonly fhir: FhirServers;
  readonly pacs: Pacs;
  readonly opener: ParcelOpener;
  readonly #story: Story;
  readonly #signal: AbortSignal;

  private constructor(folder: string, hospital: Hospital, parts: SiteParts) {
    this.folder = folder;
    this.hospital = hospital;
    this.stages = parts.stages;
    this.feed = parts.feed;
    this.storage = parts.storage;
    this.fhir = parts.fhir;
    this.pacs = parts.pacs;
    this.#story = parts.story;
    this.#signal = parts.signal;
    this.opener = new ParcelOpener({
      parcels: join(hospital.data, 'parcels', facility),
      key: join(hospital.producerKeys, 'online.identity'),
      out: join(folder, 'opened'),
    });
  }

  /** Keys, configuration, and everything started; the agent's clock is trusted when it resolves. */
  static async start(folder: string, parts: SiteParts): Promise<Site> {
    const sources = parts.stages.flatMap((stage) => stage.sources);
    const hospital = await Hospital.create({ settings: { sources }, producer: { bandwidth } });
    const site = new Site(folder, hospital, parts);
    const steps = [
      () => hospital.startProducer(),
      () => hospital.writeConfig(),
      () => hospital.startAgent(),
      () => site.untilTrusted(),
    ];
    try {
      for (const step of steps) {
        parts.signal.throwIfAborted();
        await step();
      }
      return site;
    } catch (error) {
      await hospital.close();
      throw error;
    }
  }

  async untilTrusted(): Promise<void> {
    await this.until('the clock to be trusted', async () => (await this.hospital.status()).clock.trusted || undefined);
  }

  get offered(): Offered[] {
    return this.stages.flatMap((stage) => stage.offered);
  }

  /** As an operator's command does, with its progress shown as soon as it is known how much there is to do. */
  async ask<T>(verb: string, args: ControlArgs, label: string): Promise<T> {
    let bar: ProgressBar | undefined;
    const onProgress = (value: unknown) => {
      const { done, total, unit } = readable(value as ProgressState);
      if (total === undefined || total === 0) return;
      bar ??= this.#story.progress(label, unit, total);
      bar.update(done, total);
    };
    try {
      return (await callControl(controlPath(this.hospital.state), verb, args, { onProgress })) as T;
    } finally {
      bar?.stop();
    }
  }

  /** One run now. An agent that was killed while it shipped goes on by itself; then this is the run after that. */
  async ship(): Promise<ShipTally> {
    return this.until('shipping', async () => {
      try {
        const tallies = await this.ask<Record<string, ShipTally>>('ship', {}, 'shipping');
        return tallies[producerName];
      } catch (error) {
        if (isError(error, 'JOB_BUSY')) return undefined;
        throw error;
      }
    });
  }

  /** Asks every source that can be asked, once; what each told, by name. */
  async pull(): Promise<[string, PollTally][]> {
    const names = this.stages.flatMap(({ sources, polls }) => (polls ? sources.map(({ name }) => String(name)) : []));
    const told: [string, PollTally][] = [];
    for (const name of names) {
      const tallies = await this.ask<Record<string, PollTally>>('pull', { name }, `pulling ${name}`);
      if (tallies[name]) told.push([name, tallies[name]]);
    }
    return told;
  }

  /** Resolves with how many bytes of a parcel have arrived at the producer, once its upload is under way. */
  async untilUploading(): Promise<number> {
    const folder = join(this.hospital.data, 'incoming', facility);
    return this.until('an upload to be under way', async () => {
      const names = existsSync(folder) ? await readdir(folder) : [];
      const sizes = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => undefined)));
      const bytes = Math.max(0, ...sizes.map((found) => found?.size ?? 0));
      return bytes >= underWayBytes ? bytes : undefined;
    });
  }

  /** @throws when it does not come about in a minute */
  async until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const until = systemClock.monotonic() + patienceMs;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      this.#signal.throwIfAborted();
      if (systemClock.monotonic() > until) throw new Error(`waited in vain for ${what}`);
      await systemClock.sleep(lookEveryMs);
    }
  }

  /** Looks for patients in all that must not hold any: the state folder, logs, metrics, heartbeats. */
  async canaries(): Promise<number> {
    const telemetry = join(this.folder, 'telemetry');
    await mkdir(telemetry, { recursive: true });
    await writeFile(join(telemetry, 'processes.log'), this.hospital.said);
    await writeFile(join(telemetry, 'metrics.txt'), await this.#metrics());
    // The intake keeps heartbeats, statements and receipts in its database; payloads lie in folders.
    const data = await readdir(this.hospital.data, { withFileTypes: true });
    const databases = data.filter((entry) => entry.isFile()).map(({ name }) => join(this.hospital.data, name));
    return countCanaries([this.hospital.state, telemetry, ...databases], this.folder);
  }

  async #metrics(): Promise<string> {
    const port = this.hospital.agent.ready.ports?.['metrics'];
    if (!this.hospital.agent.isRunning || port === undefined) return '';
    return (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  }

  /** Stops everything and leaves it to be looked at; the configuration still works from where it lies. */
  async keep(): Promise<void> {
    for (const stage of this.stages) await stage.keep(join(this.folder, 'peers', stage.kind));
    if (this.hospital.agent.isRunning) await this.hospital.agent.stop();
    await this.hospital.producer.stop();
    const kept = join(this.folder, 'site');
    await rename(this.hospital.folder, kept);
    const config = join(kept, 'hospital', 'connector.yaml');
    await writeFile(config, (await readFile(config, 'utf8')).replaceAll(this.hospital.folder, kept));
  }

  /** Ends every process. Harmless twice. */
  async close(): Promise<void> {
    await this.hospital.close();
  }
}

type ProgressState = Parameters<Progress>[0];

/** Bytes as megabytes; less than one is no progress to look at. */
function readable({ done, total, unit }: ProgressState): ProgressState {
  if (unit !== 'bytes' || total === undefined) return { done, unit, ...(total !== undefined && { total }) };
  return { done: Math.floor(done / bytesPerMB), total: Math.floor(total / bytesPerMB), unit: 'MB' };
}

export interface SiteParts {
  readonly stages: readonly Stage[];
  readonly feed: Hl7Feed;
  readonly storage: Ssmix2Storage;
  readonly fhir: FhirServers;
  readonly pacs: Pacs;
  readonly story: Story;
  readonly signal: AbortSignal;
}
