/**
 * The way for servers that cannot tell what changed: patient by patient, from a clinical date on that lies some way
 * before the last visit, because results come late and are corrected. What comes twice is a duplicate by its content.
 *
 * The gate is asked before a patient's records are read. Who must wait is remembered by reference and visited once
 * that has changed; who has said no is not remembered at all.
 */
import { ConnectorError } from '../../model/errors.ts';
import type { SourceHost, StateChange } from '../../model/ports.ts';
import type { Instant, PatientName, RecordFacts } from '../../model/record.ts';
import { dayJst } from '../../base/clock.ts';
import type { TypePlan } from './capability.ts';
import type { FhirClient } from './client.ts';
import type { Offering } from './offering.ts';
import { searchPages } from './pages.ts';
import { categoriesOf } from './types.ts';

export interface RoundOptions {
  /** How far before the last visit a patient's records are read again. */
  readonly lookBackMs: number;
  /** A patient is visited again after this long. */
  readonly revisitMs: number;
  readonly count: number;
}

/** What is remembered of a patient. */
interface Visited {
  readonly id: string;
  readonly name: PatientName;
  /** By type: when the last whole visit began, in the server's time. */
  readonly at: Readonly<Record<string, Instant>>;
}

const kind = 'patient';

/** Patients read from the state at a time. */
const dueMax = 64;

/** All of a type, page by page, from the beginning: for Patients, where the server tells no times of change. */
export async function readList(
  { client, offering, signal }: { client: FhirClient; offering: Offering; signal: AbortSignal },
  { type }: TypePlan,
  count: number,
): Promise<void> {
  const question = new URL(`${type}?_count=${count}`, client.base);
  for await (const page of searchPages(client, type, question, signal)) await offering.offer(page);
}

/** What to remember of a Patient that was read: nothing new, a new patient, or that there is none any more. */
export function rememberPatient(host: SourceHost, id: string, { patients, quarantine }: RecordFacts) {
  const [name] = patients;
  if (!name || quarantine) return undefined;
  if (host.intake.wants(name, 'demographics') === 'never') return { kind, key: id, value: undefined };
  const found = host.intake.state(kind, id);
  const known = found && parse(found.value);
  if (known?.name.authority === name.authority && known.name.normalized === name.normalized) return undefined;
  return stateOf({ id, name, at: known?.at ?? {} }, found?.mark ?? 0);
}

export class PatientRounds {
  readonly #client: FhirClient;
  readonly #host: SourceHost;
  readonly #offering: Offering;
  readonly #signal: AbortSignal;
  readonly #options: RoundOptions;

  constructor(
    {
      client,
      host,
      offering,
      signal,
    }: { client: FhirClient; host: SourceHost; offering: Offering; signal: AbortSignal },
    options: RoundOptions,
  ) {
    this.#client = client;
    this.#host = host;
    this.#offering = offering;
    this.#signal = signal;
    this.#options = options;
  }

  /**
   * Visits everybody whose time has come; `serverNow` is when that began. Returns early when the signal aborts.
   *
   * @throws ConnectorError the first failure, once the others were visited; at once what concerns them all.
   */
  async visit(plans: readonly TypePlan[], serverNow: Instant): Promise<void> {
    const startedAt = this.#host.clock.now();
    const below = startedAt - this.#options.revisitMs + 1;
    let failure: ConnectorError | undefined;
    for (;;) {
      const due = this.#host.intake.states(kind, { below, limit: dueMax });
      if (due.length === 0) break;
      for (const { value } of due) {
        if (this.#signal.aborted) return;
        failure = (await this.#visitOne(parse(value), plans, { startedAt, serverNow })) ?? failure;
      }
    }
    if (failure) throw failure;
  }

  /** The failure that ended this visit, if it concerns this patient's answers alone; the next visit begins anew. */
  async #visitOne(
    patient: Visited,
    plans: readonly TypePlan[],
    { startedAt, serverNow }: { startedAt: Instant; serverNow: Instant },
  ): Promise<ConnectorError | undefined> {
    const { intake } = this.#host;
    const answers = new Map(plans.map((plan) => [plan, this.#wants(patient.name, plan.type)]));
    if (intake.wants(patient.name, 'demographics') === 'never' || [...answers.values()].every(isNever)) {
      await this.#offering.note({ state: [{ kind, key: patient.id, value: undefined }], closes: [reference(patient)] });
      return undefined;
    }
    const wanted = plans.filter((plan) => answers.get(plan) === 'take');
    const at = { ...patient.at };
    let failure: ConnectorError | undefined;
    for (const plan of wanted) {
      const failed = await this.#read(patient, plan);
      if (failed) failure = failed;
      else at[plan.type] = serverNow;
    }
    if (this.#signal.aborted) return undefined;
    const isDeferred = [...answers.values()].includes('defer');
    const state = [stateOf({ ...patient, at }, startedAt)];
    if (isDeferred) await this.#offering.note({ state, gaps: [{ code: 'DEFERRED', reference: reference(patient) }] });
    else await this.#offering.note({ state, ...(!failure && { closes: [reference(patient)] }) });
    return failure;
  }

  /** Of a type whose resources may belong to several items, one that may be taken is enough to ask. */
  #wants(name: PatientName, type: string): 'take' | 'defer' | 'never' {
    const answers = categoriesOf(type).map((category) => this.#host.intake.wants(name, category));
    if (answers.includes('take')) return 'take';
    return answers.every(isNever) ? 'never' : 'defer';
  }

  async #read(patient: Visited, plan: TypePlan): Promise<ConnectorError | undefined> {
    try {
      for await (const page of searchPages(this.#client, plan.type, this.#question(patient, plan), this.#signal)) {
        await this.#offering.offer(page);
      }
      return undefined;
    } catch (error) {
      if (error instanceof ConnectorError && ofOnePatient.has(error.code)) return error;
      throw error;
    }
  }

  #question({ id, at }: Visited, { type, patient = 'patient', date }: TypePlan): URL {
    const last = at[type];
    const since =
      date === undefined || last === undefined ? '' : `&${date}=ge${dayJst(last - this.#options.lookBackMs)}`;
    const target = encodeURIComponent(`Patient/${id}`);
    return new URL(`${type}?${patient}=${target}${since}&_count=${this.#options.count}`, this.#client.base);
  }
}

/** Failures that say nothing about the next patient. */
const ofOnePatient: ReadonlySet<string> = new Set([
  'FHIR_REFUSED',
  'FHIR_FAILED',
  'FHIR_PAGING_BROKEN',
  'FHIR_PAGE_TOO_LARGE',
  'FHIR_BAD_JSON',
]);

function isNever(answer: string): boolean {
  return answer === 'never';
}

function reference({ id }: Visited): string {
  return `Patient/${id}`;
}

function stateOf(patient: Visited, mark: number): StateChange {
  return { kind, key: patient.id, value: Buffer.from(JSON.stringify(patient)), mark };
}

function parse(value: Uint8Array): Visited {
  return JSON.parse(Buffer.from(value).toString()) as Visited;
}
