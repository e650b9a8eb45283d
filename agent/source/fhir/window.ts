/**
 * What changed, by stretches of time. A window is closed: its end lies so far back that every transaction the server
 * had begun by then has ended (LinuxForHealth FHIR 2039), and the cursor reaches it in the same commit as the last
 * page's records. So a crash, a full disk or a cut line repeats a window, and never skips one.
 *
 * A window that holds too much, or that the server cannot answer, is halved. What stays unreadable in the narrowest is
 * noted as a gap and tried again at later polls, so that one bad resource does not stop all those after it.
 */
import { ConnectorError, type ErrorCode, isError } from '../../model/errors.ts';
import type { GapNote, SourceHost, StateChange } from '../../model/ports.ts';
import type { Instant } from '../../model/record.ts';
import type { TypePlan } from './capability.ts';
import type { FhirClient } from './client.ts';
import type { Covering, Offering } from './offering.ts';
import { searchPages } from './pages.ts';

export interface WindowOptions {
  /** Where the first window of a type begins. */
  readonly since: Instant;
  readonly overlapMs: number;
  readonly windowMsMax: number;
  /** Page size asked for. */
  readonly count: number;
}

interface Reading extends TypePlan {
  readonly cursor: string;
}

interface Window {
  readonly from: Instant;
  readonly to: Instant;
}

interface Bounds {
  /** Resources after which a window counts as dense. */
  readonly limit: number;
  /** What is committed with the last page. */
  readonly covering: () => Covering;
}

/** A page that was too large is asked for again with this fraction of its resources, down to one. */
const pageShrink = 8;

/** With more than this a window is halved: a paging session lost at its end repeats so much. */
const windowResourcesMax = 20_000;

/** Narrower makes no sense: many servers keep seconds. */
const windowMsMin = 1000;

/** Gaps one poll may note for a type. More is not a bad resource but a bad server, and the type waits. */
const gapsMax = 16;

/** A gap is tried again after this long. */
const gapRetryMs = 3_600_000;

/** Failures a smaller question may avoid. */
const narrowing: ReadonlySet<ErrorCode> = new Set([
  'FHIR_FAILED',
  'FHIR_PAGING_BROKEN',
  'FHIR_PAGE_TOO_LARGE',
  'FHIR_BAD_JSON',
  'NET_STALLED',
]);

/** Those of them that speak of what was asked for, and not of the server's health: they may become a gap. */
const gapping: ReadonlySet<ErrorCode> = new Set(['FHIR_PAGING_BROKEN', 'FHIR_PAGE_TOO_LARGE', 'FHIR_BAD_JSON']);

export class WindowReader {
  readonly #client: FhirClient;
  readonly #host: SourceHost;
  readonly #options: WindowOptions;
  readonly #offering: Offering;
  readonly #signal: AbortSignal;

  constructor(
    {
      client,
      host,
      offering,
      signal,
    }: { client: FhirClient; host: SourceHost; offering: Offering; signal: AbortSignal },
    options: WindowOptions,
  ) {
    this.#client = client;
    this.#host = host;
    this.#options = options;
    this.#offering = offering;
    this.#signal = signal;
  }

  /**
   * Everything of a type up to `until`. Returns early when the signal aborts. `cursor` is the name of what was read:
   * the same type read for another purpose has a cursor of its own.
   *
   * @throws ConnectorError what the server or the buffer refused; the cursor stands before it.
   */
  async read(plan: Reading, until: Instant): Promise<void> {
    await this.#retryGaps(plan);
    const cursor = this.#cursor(plan.cursor);
    let from = cursor === undefined ? this.#options.since : cursor.through - this.#options.overlapMs;
    let widthMs = Math.min(cursor?.widthMs ?? Number.POSITIVE_INFINITY, this.#options.windowMsMax);
    let gaps = 0;
    while (from < until && !this.#signal.aborted) {
      const window = { from, to: Math.min(from + widthMs, until) };
      const spanMs = window.to - window.from;
      const outcome = await this.#attempt(plan, window, widthMs);
      if (outcome instanceof ConnectorError) {
        const isNarrowest = spanMs <= windowMsMin;
        if (isNarrowest && (!gapping.has(outcome.code) || ++gaps > gapsMax)) throw outcome;
        if (isNarrowest) await this.#offering.note(this.#skipped(plan, window, widthMs));
      }
      if (typeof outcome !== 'number' && spanMs > windowMsMin) {
        widthMs = Math.max(windowMsMin, Math.floor(spanMs / 2));
        continue;
      }
      if (typeof outcome === 'number' && outcome < windowResourcesMax / 4) widthMs = this.#wider(widthMs);
      from = window.to;
    }
  }

  /** The number of resources; `dense` when there are too many; an error that a narrower window may avoid. */
  async #attempt(plan: Reading, window: Window, widthMs: number): Promise<number | 'dense' | ConnectorError> {
    const limit = window.to - window.from > windowMsMin ? windowResourcesMax : Number.POSITIVE_INFINITY;
    try {
      return await this.#take(plan, window, { limit, covering: () => this.#reached(plan, window, widthMs) });
    } catch (error) {
      if (error instanceof ConnectorError && narrowing.has(error.code) && !this.#signal.aborted) return error;
      throw error;
    }
  }

  /** Smaller pages first where one was too large: what was loaded in one go has one time of change. */
  async #take(plan: TypePlan, window: Window, bounds: Bounds): Promise<number | 'dense'> {
    for (let { count } = this.#options; ; count = Math.ceil(count / pageShrink)) {
      try {
        return await this.#takePages(plan, window, { ...bounds, count });
      } catch (error) {
        if (!isError(error, 'FHIR_PAGE_TOO_LARGE') || count === 1) throw error;
      }
    }
  }

  async #takePages(
    plan: TypePlan,
    window: Window,
    { limit, covering, count }: Bounds & { readonly count: number },
  ): Promise<number | 'dense'> {
    const question = this.#question(plan, window, count);
    let taken = 0;
    for await (const page of searchPages(this.#client, plan.type, question, this.#signal)) {
      taken += page.bundle.entries.length;
      const isDense = taken > limit || (page.bundle.total ?? 0) > limit;
      await this.#offering.offer(page, page.isLast ? covering() : {});
      if (isDense && !page.isLast) return 'dense';
    }
    return taken;
  }

  #question({ type, isSorted }: TypePlan, { from, to }: Window, count: number): URL {
    const range = `_lastUpdated=ge${instant(from)}&_lastUpdated=lt${instant(to)}`;
    const sort = isSorted ? '&_sort=_lastUpdated' : '';
    return new URL(`${type}?${range}${sort}&_count=${count}`, this.#client.base);
  }

  #wider(widthMs: number): number {
    return Math.min(widthMs * 2, this.#options.windowMsMax);
  }

  #cursor(name: string): { through: Instant; widthMs: number } | undefined {
    const found = this.#host.intake.state('cursor', name);
    return found && (JSON.parse(Buffer.from(found.value).toString()) as { through: Instant; widthMs: number });
  }

  /** Inside the overlap the cursor stays where it is. */
  #reached({ cursor }: Reading, { to }: Window, widthMs: number): Covering {
    const through = Math.max(to, this.#cursor(cursor)?.through ?? to);
    const value = Buffer.from(JSON.stringify({ through, widthMs }));
    return { state: [{ kind: 'cursor', key: cursor, value, mark: through }] };
  }

  #skipped(plan: Reading, window: Window, widthMs: number): Covering {
    const { state = [] } = this.#reached(plan, window, widthMs);
    const gap: GapNote = { code: 'INCOMPLETE', reference: referenceOf(plan.type, window) };
    return { state: [...state, this.#gapState(plan.type, window)], gaps: [gap] };
  }

  async #retryGaps(plan: TypePlan): Promise<void> {
    const below = this.#host.clock.now() - gapRetryMs;
    const due = this.#host.intake.states(gapKind(plan.type), { below, limit: gapsMax });
    for (const { value } of due) {
      if (this.#signal.aborted) return;
      const window = JSON.parse(Buffer.from(value).toString()) as Window;
      const reference = referenceOf(plan.type, window);
      const state = [{ kind: gapKind(plan.type), key: reference, value: undefined }];
      const bounds = { limit: Number.POSITIVE_INFINITY, covering: () => ({ state, closes: [reference] }) };
      try {
        await this.#take(plan, window, bounds);
      } catch (error) {
        if (!(error instanceof ConnectorError) || !gapping.has(error.code)) throw error;
        await this.#offering.note({ state: [this.#gapState(plan.type, window)] });
      }
    }
  }

  #gapState(type: string, window: Window): StateChange {
    const value = Buffer.from(JSON.stringify(window));
    return { kind: gapKind(type), key: referenceOf(type, window), value, mark: this.#host.clock.now() };
  }
}

function gapKind(type: string): string {
  return `gap:${type}`;
}

function referenceOf(type: string, { from, to }: Window): string {
  return `${type} ${instant(from)} ${instant(to)}`;
}

/** With milliseconds and zone: servers read anything shorter as a whole second or day. */
function instant(at: Instant): string {
  return new Date(at).toISOString();
}
