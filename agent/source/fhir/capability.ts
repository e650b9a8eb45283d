/**
 * What a server offers, type by type: asked of its CapabilityStatement, and then of the server itself, because the
 * statement is often wrong in both directions. JP Core's server statement promises no `_lastUpdated`, and a lenient
 * server ignores a parameter it does not know and returns everything.
 *
 * - `window`: by the time of last change. - `list`: all of it each time (Patients, where nothing better is offered).
 * - `per-patient`: patient by patient, by clinical date.
 */
import { z } from 'zod';
import { ConnectorError, isError } from '../../model/errors.ts';
import type { FhirClient, Page } from './client.ts';
import { scanBundle } from './scan.ts';
import { dateParameterOf, patientParametersOf } from './types.ts';

export interface TypePlan {
  readonly type: string;
  readonly mode: 'window' | 'list' | 'per-patient';
  /** Whether results can be asked for in order of their last change. */
  readonly isSorted: boolean;
  /** Search parameter that names the patient; of `per-patient`. */
  readonly patient?: string | undefined;
  /** Search parameter of the clinical date, if there is one. */
  readonly date?: string | undefined;
}

export interface Capability {
  readonly fhirVersion: string;
  readonly plans: readonly TypePlan[];
  /** Configured types this server does not let us search. */
  readonly missing: readonly string[];
}

const statement = z.object({
  resourceType: z.literal('CapabilityStatement'),
  fhirVersion: z.string().max(32),
  rest: z
    .array(
      z.object({
        mode: z.string().optional(),
        resource: z
          .array(
            z.object({
              type: z.string().max(64),
              interaction: z.array(z.object({ code: z.string() })).optional(),
              searchParam: z.array(z.object({ name: z.string() })).optional(),
            }),
          )
          .max(1000)
          .default([]),
      }),
    )
    .max(16)
    .default([]),
});

/** One question to the server: patiently in a poll, once for somebody who waits for the answer. */
export type Ask = (url: URL) => Promise<Page>;

interface Offered {
  readonly type: string;
  readonly parameters: ReadonlySet<string>;
}

/** No record is of this time, so a server that understood the question has nothing to answer. */
const farFuture = '2999-01-01T00:00:00.000Z';

/**
 * Asks what the server can do for these types; changes nothing there.
 *
 * @throws ConnectorError FHIR_VERSION, FHIR_NOTHING_OFFERED, FHIR_*, NET_*, TLS_*
 */
export async function readCapability(client: FhirClient, types: readonly string[], ask: Ask): Promise<Capability> {
  const { fhirVersion, offered } = await readStatement(client, ask);
  const plans: TypePlan[] = [];
  for (const type of types) {
    const found = offered.get(type);
    const plan = found && (await planOf(client, found, ask));
    if (plan) plans.push(plan);
  }
  // Who is to be visited is known from the Patients alone.
  const usable = plans.some(({ type }) => type === 'Patient') ? plans : plans.filter(({ mode }) => mode === 'window');
  if (usable.length === 0) throw new ConnectorError('FHIR_NOTHING_OFFERED', { peer: client.base.host });
  const missing = types.filter((type) => !usable.some((plan) => plan.type === type));
  return { fhirVersion, plans: usable, missing };
}

async function readStatement(client: FhirClient, ask: Ask) {
  const { bytes } = await ask(new URL('metadata', client.base));
  const parsed = statement.safeParse(parseJson(bytes));
  if (!parsed.success) throw client.invalid('its metadata is not a CapabilityStatement');
  const { fhirVersion, rest } = parsed.data;
  if (!/^4\.0\.\d+$/.test(fhirVersion)) throw new ConnectorError('FHIR_VERSION', { peer: client.base.host });
  const offered = new Map<string, Offered>();
  for (const { mode, resource } of rest) {
    if (mode === 'client') continue;
    for (const { type, interaction, searchParam } of resource) {
      // A statement that lists no interactions has not said that there are none.
      if (interaction && !interaction.some(({ code }) => code === 'search-type')) continue;
      offered.set(type, { type, parameters: new Set(searchParam?.map(({ name }) => name)) });
    }
  }
  return { fhirVersion, offered };
}

async function planOf(client: FhirClient, offered: Offered, ask: Ask): Promise<TypePlan | undefined> {
  const { type, parameters } = offered;
  const changed = `${type}?_lastUpdated=ge${farFuture}`;
  if ((await matchCount(client, `${changed}&_sort=_lastUpdated&_count=1`, ask)) === 0) {
    return { type, mode: 'window', isSorted: true };
  }
  if ((await matchCount(client, `${changed}&_count=1`, ask)) === 0) return { type, mode: 'window', isSorted: false };
  if (type === 'Patient') {
    const isListed = (await matchCount(client, 'Patient?_count=1', ask)) !== undefined;
    return isListed ? { type, mode: 'list', isSorted: false } : undefined;
  }
  const patient = patientParametersOf(type).find((name) => parameters.has(name));
  const date = dateParameterOf(type);
  if (patient === undefined) return undefined;
  return { type, mode: 'per-patient', isSorted: false, patient, ...(date && parameters.has(date) && { date }) };
}

/** How many resources of its type a question finds, or undefined where the server does not take the question. */
async function matchCount(client: FhirClient, question: string, ask: Ask): Promise<number | undefined> {
  try {
    const { bytes } = await ask(new URL(question, client.base));
    const { type, entries } = scanBundle(bytes);
    if (type !== 'searchset') return undefined;
    return entries.filter(({ mode, resourceType }) => mode !== 'outcome' && resourceType !== 'OperationOutcome').length;
  } catch (error) {
    // Some answer an unknown parameter with 4xx, some with a 500: neither can be asked this way.
    if (isError(error, 'FHIR_REFUSED') || isError(error, 'FHIR_FAILED')) return undefined;
    throw error;
  }
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString()) as unknown;
  } catch {
    return undefined;
  }
}
