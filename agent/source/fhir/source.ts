/** One FHIR R4 server, read only. What it offers decides how it is read, type by type; see `capability.ts`. */
import type { TlsOptions, ProxyOptions } from '../../base/net.ts';
import type { Category } from '../../model/category.ts';
import { ConnectorError, type ErrorCode } from '../../model/errors.ts';
import type { PollTally, Probe, Progress, Source, SourceHost } from '../../model/ports.ts';
import type { Instant } from '../../model/record.ts';
import type { PatientIdOptions } from '../define.ts';
import { type AuthOptions, authorizationOf } from './auth.ts';
import { type Capability, readCapability, type TypePlan } from './capability.ts';
import { FhirClient } from './client.ts';
import { Offering } from './offering.ts';
import { Naming } from './patient.ts';
import { PatientRounds, readList, rememberPatient, type RoundOptions } from './rounds.ts';
import { Transport } from './transport.ts';
import { type WindowOptions, WindowReader } from './window.ts';

export interface FhirOptions extends WindowOptions, RoundOptions {
  readonly base: URL;
  readonly tls: TlsOptions;
  readonly proxy?: ProxyOptions | undefined;
  readonly auth: AuthOptions;
  readonly types: readonly string[];
  readonly pageBytesMax: number;
  readonly timeoutMs: number;
  /** How far behind the server's time a window ends. */
  readonly lagMs: number;
  readonly patientId: PatientIdOptions;
  readonly categories: Readonly<Record<string, Category>>;
}

/** What a server offers is asked again after this long: it may have been upgraded, or a type may have been opened. */
const capabilityMsMax = 86_400_000;

/** Beyond this the server's clock and ours disagree enough to tell somebody. `Date` has whole seconds. */
const skewMsMax = 5000;

/** Failures that concern the server as a whole, or us: another type would fail the same way. */
const generalPrefixes: readonly string[] = ['NET_', 'PROXY_', 'TLS_', 'BUFFER_', 'FHIR_TOKEN_', 'FHIR_KEY_'];
const generalCodes: ReadonlySet<ErrorCode> = new Set(['FHIR_BUSY', 'FHIR_OTHER_ORIGIN', 'KEY_UNREADABLE']);

export class FhirSource implements Source {
  readonly #options: FhirOptions;
  readonly #host: SourceHost;
  readonly #naming: Naming;
  readonly #stopping = new AbortController();
  #client: { client: FhirClient; transport: Transport } | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: FhirOptions, host: SourceHost) {
    this.#options = options;
    this.#host = host;
    const { base, patientId } = options;
    this.#naming = new Naming({ source: host.name, base, patientId, facility: host.facility });
  }

  /** @throws ConnectorError FHIR_*, NET_*, PROXY_*, TLS_*, BUFFER_*, KEY_UNREADABLE; what was taken stays taken. */
  poll(signal: AbortSignal, progress: Progress): Promise<PollTally> {
    const run = this.#poll(AbortSignal.any([signal, this.#host.signal, this.#stopping.signal]), progress);
    this.#running = run.catch(ignored);
    return run;
  }

  async probe(): Promise<Probe> {
    try {
      const signal = AbortSignal.any([this.#host.signal, this.#stopping.signal]);
      const client = this.#open();
      const capability = await readCapability(client, this.#options.types, (url) => client.get(url, signal));
      return { ok: true, peer: describe(capability) };
    } catch (error) {
      if (error instanceof ConnectorError) return { ok: false, error };
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#client?.transport.close();
  }

  async #poll(signal: AbortSignal, progress: Progress): Promise<PollTally> {
    const client = this.#open();
    const facts = { naming: this.#naming, categories: this.#options.categories };
    let hasRounds = false;
    const offering = new Offering(this.#host, facts, progress, (id, found) =>
      hasRounds ? rememberPatient(this.#host, id, found) : undefined,
    );
    try {
      const plans = await this.#plans(client, offering, signal);
      hasRounds = plans.some(({ mode }) => mode === 'per-patient');
      await this.#readAll(plans, { client, offering, signal });
    } catch (error) {
      // What was cut off by our own stop is no failure of the server's.
      if (!signal.aborted || !(error instanceof ConnectorError)) throw error;
    }
    return offering.tally(!signal.aborted);
  }

  async #readAll(
    plans: readonly TypePlan[],
    parts: { client: FhirClient; offering: Offering; signal: AbortSignal },
  ): Promise<void> {
    const { client, signal } = parts;
    const serverNow = await this.#serverNow(client, signal);
    const windows = new WindowReader({ ...parts, host: this.#host }, this.#options);
    const rounds = new PatientRounds({ ...parts, host: this.#host }, this.#options);
    const visited = plans.filter(({ mode }) => mode === 'per-patient');
    const tasks = plans
      .filter(({ mode }) => mode !== 'per-patient')
      .map((plan) => ({
        word: plan.type,
        run: () =>
          plan.mode === 'window'
            ? windows.read({ ...plan, cursor: cursorOf(plan, visited) }, serverNow - this.#options.lagMs)
            : readList(parts, plan, this.#options.count),
      }));
    if (visited.length > 0) tasks.push({ word: 'per-patient', run: () => rounds.visit(visited, serverNow) });
    let failure: ConnectorError | undefined;
    for (const { word, run } of tasks) {
      if (signal.aborted) return;
      const failed = await this.#attempt(word, run, signal);
      failure ??= failed;
    }
    if (failure) throw failure;
  }

  /** One type's failure does not keep the others from being read; it is told, and ends the poll when they are done. */
  async #attempt(word: string, run: () => Promise<void>, signal: AbortSignal): Promise<ConnectorError | undefined> {
    try {
      await run();
      return undefined;
    } catch (error) {
      if (!(error instanceof ConnectorError) || signal.aborted || isGeneral(error.code)) throw error;
      this.#host.report({ name: 'source.failed', source: this.#host.name, code: error.code, word });
      return error;
    }
  }

  #open(): FhirClient {
    if (!this.#client) {
      const { base, tls, proxy, auth, pageBytesMax, timeoutMs } = this.#options;
      const { clock } = this.#host;
      const transport = new Transport({ tls, proxy, clock });
      const authorization = authorizationOf(auth, { transport, clock, timeoutMs });
      const client = new FhirClient({ base, pageBytesMax, timeoutMs, clock }, transport, authorization);
      this.#client = { client, transport };
    }
    return this.#client.client;
  }

  /** What was found at most a day ago for this very configuration, or found now. */
  async #plans(client: FhirClient, offering: Offering, signal: AbortSignal): Promise<readonly TypePlan[]> {
    const { base, types } = this.#options;
    const key = `${base.href} ${types.join(' ')}`;
    const now = this.#host.clock.now();
    const known = this.#host.intake.state('capability', key);
    if (known && known.mark <= now && now - known.mark < capabilityMsMax) {
      return (JSON.parse(Buffer.from(known.value).toString()) as Capability).plans;
    }
    const capability = await readCapability(client, types, (url) => client.getPatiently(url, signal));
    const value = Buffer.from(JSON.stringify(capability));
    await offering.note({ state: [{ kind: 'capability', key, value, mark: now }] });
    return capability.plans;
  }

  /** The time by the server's clock, which dates the resources; by ours where the server tells none. */
  async #serverNow(client: FhirClient, signal: AbortSignal): Promise<Instant> {
    if (client.skewMs === undefined) await client.getPatiently(new URL('metadata', client.base), signal);
    const skewMs = client.skewMs ?? 0;
    if (Math.abs(skewMs) > skewMsMax + 1000) {
      this.#host.report({ name: 'source.clock-differs', source: this.#host.name, numbers: { skewMs } });
    }
    return this.#host.clock.now() + skewMs;
  }
}

/** The day the first type must be read patient by patient, all Patients are read anew, to know whom to visit. */
function cursorOf({ type }: TypePlan, visited: readonly TypePlan[]): string {
  return type === 'Patient' && visited.length > 0 ? 'Patient, for visits' : type;
}

function isGeneral(code: ErrorCode): boolean {
  return generalCodes.has(code) || generalPrefixes.some((prefix) => code.startsWith(prefix));
}

/** Codes and names from our own lists: nothing the server wrote. */
function describe({ fhirVersion, plans, missing }: Capability): string {
  const of = (mode: TypePlan['mode']) => plans.filter((plan) => plan.mode === mode).map(({ type }) => type);
  const parts = [
    ['by change', of('window')],
    ['whole list', of('list')],
    ['by patient', of('per-patient')],
    ['not offered', missing],
  ] as const;
  const told = parts.filter(([, types]) => types.length > 0).map(([word, types]) => `${word}: ${types.join(' ')}`);
  return `FHIR ${fhirVersion}; ${told.join('; ')}`;
}

/** `poll` gives its failure to whoever called it. */
function ignored(): undefined {
  return undefined;
}
