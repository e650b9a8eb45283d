/**
 * One producer with a real intake, and hospitals that talk to it over real TLS. Every answer a hospital gets is held
 * against docs/producer-api.openapi.yaml: an answer nobody described fails the test that provoked it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Encrypter } from 'age-encryption';
import { Agent, type Dispatcher, request } from 'undici';
import { expect } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { systemClock } from '../../agent/base/clock.ts';
import { newSigningKey, peekJws, type SigningKey, signJws } from '../../agent/base/jws.ts';
import type { ConnectorEvent } from '../../agent/model/events.ts';
import { jwsTypes, type ParcelStatement, type Receipt, type RetractionDetail } from '../../agent/model/wire.ts';
import { type Intake, type IntakeOptions, startIntake } from '../../producer/intake/intake.ts';
import { findRoute, routes } from '../../producer/intake/routes.ts';
import { createClient } from '../../producer/keys/clients.ts';
import { createKeyFolder } from '../../producer/keys/folder.ts';

export const facility = '1312345670';
export const otherFacility = '1399999990';

/** Small bounds and no reserve: the disk of the machine that runs the tests is not the test. */
const testLimits = { reserveBytes: 0 };

export class Rig {
  readonly folder: string;
  readonly events: ConnectorEvent[] = [];
  intake: Intake | undefined;
  readonly #hospitals: Hospital[] = [];
  readonly #waiting: { name: string; seen: () => void }[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Rig> {
    const rig = new Rig(await mkdtemp(join(tmpdir(), 'kakehashi-producer-')));
    await createKeyFolder(rig.keys, { name: 'ldi', hosts: ['127.0.0.1', 'localhost'], now: systemClock.now() });
    return rig;
  }

  get keys(): string {
    return join(this.folder, 'keys');
  }

  get data(): string {
    return join(this.folder, 'data');
  }

  get port(): number {
    if (!this.intake) throw new Error('the intake is not running');
    return this.intake.port;
  }

  async start(options: Partial<IntakeOptions> = {}): Promise<void> {
    this.intake = await startIntake({
      keys: this.keys,
      data: this.data,
      listen: { host: '127.0.0.1', port: 0 },
      isOpening: false,
      clock: systemClock,
      ...options,
      limits: { ...testLimits, ...options.limits },
      report: (event) => {
        this.events.push(event);
        for (const { name, seen } of this.#waiting) if (name === event.name) seen();
      },
    });
  }

  async stop(): Promise<void> {
    await this.intake?.stop();
    this.intake = undefined;
  }

  async restart(options: Partial<IntakeOptions> = {}): Promise<void> {
    await this.stop();
    await this.start(options);
  }

  /** Resolves when this many events of the name were seen, those of before included. */
  async seen(name: ConnectorEvent['name'], count = 1): Promise<void> {
    while (this.events.filter((event) => event.name === name).length < count) {
      await new Promise<void>((resolve) => {
        this.#waiting.push({ name, seen: resolve });
      });
    }
  }

  /** A hospital with a certificate of its own; without a key it brings a new one. */
  async hospital(code: string, options: { key?: SigningKey; folder?: string } = {}): Promise<Hospital> {
    const folder = options.folder ?? join(this.folder, `${code}-${this.#hospitals.length}`);
    if (!options.folder) await createClient(this.keys, { facility: code, now: systemClock.now(), out: folder });
    const hospital = new Hospital(code, { folder, key: options.key ?? newSigningKey(), port: () => this.port });
    this.#hospitals.push(hospital);
    return hospital;
  }

  async close(): Promise<void> {
    await Promise.all(this.#hospitals.map((hospital) => hospital.close()));
    await this.stop();
    await rm(this.folder, { recursive: true });
  }
}

export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  /** `code` of a refusal. */
  readonly code: string | undefined;
}

export interface Ask {
  readonly method: Dispatcher.HttpMethod;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Dispatcher.DispatchOptions['body'];
}

const tus = { 'tus-resumable': '1.0.0' } as const;

export class Hospital {
  readonly code: string;
  readonly key: SigningKey;
  readonly folder: string;
  epoch = 1;
  #sequence = 0;
  readonly #port: () => number;
  readonly #dispatcher: Agent;

  constructor(code: string, options: { folder: string; key: SigningKey; port: () => number }) {
    this.code = code;
    this.key = options.key;
    this.folder = options.folder;
    this.#port = options.port;
    const pem = (name: string) => readFileSync(join(options.folder, name), 'utf8');
    const tls = { ca: pem('ca.pem'), cert: pem('client.pem'), key: pem('client.key') };
    this.#dispatcher = new Agent({ connect: tls, connections: 32, pipelining: 1 });
  }

  async ask({ method, path, headers = {}, body }: Ask): Promise<Answered> {
    const url = `https://127.0.0.1:${this.#port()}/${path}`;
    const answer = await request(url, { method, headers, dispatcher: this.#dispatcher, ...(body ? { body } : {}) });
    const text = await answer.body.text();
    const flat = Object.fromEntries(Object.entries(answer.headers).map(([name, value]) => [name, String(value)]));
    const isJson = flat['content-type'] === 'application/json' && method !== 'HEAD';
    const parsed = z.object({ code: z.string().optional() }).safeParse(isJson ? JSON.parse(text) : {});
    const answered = { status: answer.statusCode, headers: flat, text, code: parsed.data?.code };
    expectDescribed(method, new URL(url).pathname, answered);
    return answered;
  }

  hello(changes: object = {}): Promise<Answered> {
    const hello = {
      v: 1,
      agent: this.code,
      epoch: this.epoch,
      key: this.key.publicJwk,
      ledgerHead: { seq: 1, hash: 'aa'.repeat(32) },
      software: 'kakehashi/0.1.0',
      at: '2026-11-23T22:00:00.000+09:00',
      ...changes,
    };
    return this.post('v1/hello', signJws(this.key, jwsTypes.hello, hello));
  }

  post(path: string, jws: string): Promise<Answered> {
    return this.ask({ method: 'POST', path, headers: { 'content-type': 'application/jose' }, body: jws });
  }

  statement(bytes: Uint8Array, changes: Partial<ParcelStatement> = {}): ParcelStatement {
    this.#sequence += 1;
    return {
      v: 1,
      parcelId: `P-${randomBytes(8).toString('hex')}`,
      agent: this.code,
      epoch: this.epoch,
      sequence: this.#sequence,
      lane: 'text',
      suite: 'age-v1',
      bytes: bytes.length,
      sha256: sha256(bytes),
      counts: { records: 1, subjects: 0 },
      registerVersion: 1,
      ledgerHead: { seq: this.#sequence + 1, hash: 'bb'.repeat(32) },
      createdAt: '2026-11-23T22:00:00.000+09:00',
      ...changes,
    };
  }

  announce(statement: ParcelStatement, options: { key?: SigningKey; length?: number } = {}): Promise<Answered> {
    const jws = signJws(options.key ?? this.key, jwsTypes.parcel, statement);
    return this.announceJws(statement.parcelId, jws, options.length ?? statement.bytes);
  }

  announceJws(parcelId: string, jws: string, length: number): Promise<Answered> {
    const metadata = `parcelId ${base64(parcelId)},statement ${base64(jws)}`;
    const headers = { ...tus, 'upload-length': String(length), 'upload-metadata': metadata };
    return this.ask({ method: 'POST', path: 'files/', headers });
  }

  head(parcelId: string): Promise<Answered> {
    return this.ask({ method: 'HEAD', path: `files/${parcelId}`, headers: tus });
  }

  patch(parcelId: string, offset: number, body: Dispatcher.DispatchOptions['body']): Promise<Answered> {
    const headers = { ...tus, 'content-type': 'application/offset+octet-stream', 'upload-offset': String(offset) };
    return this.ask({ method: 'PATCH', path: `files/${parcelId}`, headers, body });
  }

  void(parcelId: string): Promise<Answered> {
    return this.ask({ method: 'DELETE', path: `files/${parcelId}`, headers: tus });
  }

  async receipts(after = 0): Promise<string[]> {
    const { text } = await this.ask({ method: 'GET', path: `v1/receipts?after=${after}` });
    return z.object({ receipts: z.array(z.string()) }).parse(JSON.parse(text)).receipts;
  }

  /** A whole parcel, in one part. */
  async deliver(bytes: Uint8Array, changes: Partial<ParcelStatement> = {}): Promise<ParcelStatement> {
    const statement = this.statement(bytes, changes);
    expect(await this.announce(statement)).toMatchObject({ status: 201 });
    expect(await this.patch(statement.parcelId, 0, bytes)).toMatchObject({ status: 204 });
    return statement;
  }

  async retraction(detail: Partial<RetractionDetail>, changes: object = {}): Promise<string> {
    const whole = {
      subjectIds: [],
      patientIds: [],
      recordIds: [],
      parcelIds: [],
      effectiveAt: '2026-11-24T09:00:00.000+09:00',
      ...detail,
    };
    const recipients = (await readFile(join(this.folder, 'recipients'), 'utf8')).match(/^age1.*$/gm) ?? [];
    const encrypter = new Encrypter();
    for (const recipient of recipients) encrypter.addRecipient(recipient);
    const sealed = await encrypter.encrypt(JSON.stringify(whole));
    return signJws(this.key, jwsTypes.retraction, {
      v: 1,
      retractionId: `R-${randomBytes(8).toString('hex')}`,
      agent: this.code,
      epoch: this.epoch,
      detail: Buffer.from(sealed).toString('base64'),
      at: '2026-11-24T09:00:00.000+09:00',
      ...changes,
    });
  }

  heartbeat(seq: number, options: { body?: string; signed?: object; key?: SigningKey } = {}): Promise<Answered> {
    const { body = heartbeatBody('ok'), key = this.key } = options;
    const at = '2026-11-23T22:00:00.000+09:00';
    const signed = { v: 1, agent: this.code, seq, sha256: sha256(Buffer.from(body)), at, ...options.signed };
    const headers = {
      'content-type': 'application/json',
      'kakehashi-signature': signJws(key, jwsTypes.heartbeat, signed),
    };
    return this.ask({ method: 'POST', path: 'v1/metrics', headers, body });
  }

  close(): Promise<void> {
    return this.#dispatcher.destroy();
  }
}

export function heartbeatBody(state: string, reasons: readonly string[] = []): string {
  const point = (key: string, value: string) => ({ attributes: [{ key, value: { stringValue: value } }], asInt: '1' });
  const metrics = [
    { name: 'kakehashi.state', gauge: { dataPoints: [point('state', state)] } },
    { name: 'kakehashi.advice', gauge: { dataPoints: reasons.map((reason) => point('reason', reason)) } },
    { name: 'kakehashi.build', gauge: { dataPoints: [point('version', '0.1.0')] } },
  ];
  return JSON.stringify({ resourceMetrics: [{ resource: { attributes: [] }, scopeMetrics: [{ metrics }] }] });
}

export function receiptOf(jws: string): Receipt {
  return peekJws(jws) as Receipt;
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

const apiFile = join(import.meta.dirname, '../../docs/producer-api.openapi.yaml');

const operation = z.looseObject({ operationId: z.string(), responses: z.record(z.string(), z.looseObject({})) });
const apiShape = z.looseObject({
  openapi: z.string(),
  paths: z.record(z.string(), z.record(z.string(), operation.or(z.array(z.unknown())))),
  components: z.looseObject({ schemas: z.record(z.string(), z.looseObject({ enum: z.array(z.string()).optional() })) }),
});

export const openApi = apiShape.parse(parseYaml(readFileSync(apiFile, 'utf8')));

/** The documented operation, `undefined` where the document has none. */
export function documented(method: string, path: string): z.infer<typeof operation> | undefined {
  const found = openApi.paths[path]?.[method.toLowerCase()];
  return Array.isArray(found) ? undefined : found;
}

function expectDescribed(method: string, pathname: string, { status, code }: Answered): void {
  const routed = findRoute(method, pathname);
  if (!routed || 'allow' in routed) return;
  const { path } = routes[routed.name];
  expect(Object.keys(documented(method, path)?.responses ?? {}), `${method} ${path} answered ${code}`).toContain(
    String(status),
  );
  if (code !== undefined) expect(openApi.components.schemas.RefusalCode?.enum).toContain(code);
}
