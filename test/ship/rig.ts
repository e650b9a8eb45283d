/** One hospital, one producer, one sealed parcel: what the tests of this folder stand on. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import type { Clock } from '../../agent/model/ports.ts';
import { type LinkOptions, ProducerLink } from '../../agent/ship/link.ts';
import { RateSchedule, Throttle } from '../../agent/ship/rate.ts';
import { type SealedParcel, upload, type UploadOptions, type UploadResult } from '../../agent/ship/upload.ts';
import { type Certificates, makeCertificates } from '../peers/producer/certificates.ts';
import { ScriptedProducer } from '../peers/producer/scripted.ts';

export const MiB = 1024 * 1024;

export class Rig {
  readonly folder: string;
  readonly certificates: Certificates;
  readonly events: ConnectorEvent[] = [];
  readonly #cleanups: (() => Promise<unknown>)[] = [];

  private constructor(folder: string, certificates: Certificates) {
    this.folder = folder;
    this.certificates = certificates;
  }

  static async create(): Promise<Rig> {
    const folder = await mkdtemp(join(tmpdir(), 'kakehashi-ship-'));
    return new Rig(folder, await makeCertificates(folder));
  }

  /** Closed after the test, the last first. */
  keep<T extends { close(): Promise<unknown> }>(thing: T): T {
    this.#cleanups.push(() => thing.close());
    return thing;
  }

  async producer(options?: ServerOptions): Promise<ScriptedProducer> {
    return this.keep(await ScriptedProducer.start(this.certificates, options));
  }

  link(url: string, options: Partial<LinkOptions> = {}): ProducerLink {
    const report = (event: ConnectorEvent) => void this.events.push(event);
    const { client } = this.certificates;
    const whole = { name: 'ldi', url, tls: client, receiver: 'kakehashi', clock: systemClock, report } as const;
    return this.keep(new ProducerLink({ ...whole, ...options }));
  }

  async parcel(bytes: number, parcelId = 'P-0001'): Promise<SealedParcel & { readonly content: Buffer }> {
    const content = randomBytes(bytes);
    const path = join(this.folder, parcelId);
    await writeFile(path, content);
    return { parcelId, path, bytes, statement: 'aGVhZA.Ym9keQ.c2ln', content };
  }

  /** Everything permitted, no limit, no waiting between attempts; a test changes what it is about. */
  upload(link: ProducerLink, parcel: SealedParcel, options: Partial<UploadOptions> = {}): Promise<UploadResult> {
    return upload(link, parcel, {
      permit: () => 'go',
      rate: unlimited(link.clock),
      signal: new AbortController().signal,
      random: () => 0,
      ...options,
    });
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.toReversed()) await cleanup();
    await rm(this.folder, { recursive: true });
  }
}

function unlimited(clock: Clock): Throttle {
  return new Throttle(RateSchedule.parse('unlimited'), clock);
}
