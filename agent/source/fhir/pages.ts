/**
 * The pages of one search, in order, with the guards that real servers have made necessary: next links that go round
 * in a circle, empty pages for ever, a page sent twice, and a search that ends before all it announced.
 */
import { createHash } from 'node:crypto';
import { ConnectorError } from '../../model/errors.ts';
import type { FhirClient } from './client.ts';
import { type ScannedBundle, scanBundle } from './scan.ts';

export interface ScannedPage {
  readonly bytes: Buffer;
  readonly bundle: ScannedBundle;
  /** Nothing follows, and nothing announced is missing. */
  readonly isLast: boolean;
}

/** With single-resource pages still more than a window holds; a server that goes on is not paging but looping. */
const pagesMax = 50_000;

/**
 * A page that ends too early is still given, not as the last; then comes the error.
 *
 * While a page is taken the next one is on its way: one question at a time, but no time between two. Who stops reading
 * early breaks it off.
 *
 * @throws ConnectorError FHIR_PAGING_BROKEN, and those of `FhirClient.getPatiently` and the scanner.
 */
export async function* searchPages(
  client: FhirClient,
  type: string,
  first: URL,
  signal: AbortSignal,
): AsyncGenerator<ScannedPage> {
  const guard = new PageGuard(client.base.host, type);
  const leaving = new AbortController();
  const signals = AbortSignal.any([signal, leaving.signal]);
  const ask = async (url: URL) => {
    guard.visit(url);
    return client.getPatiently(url, signals);
  };
  try {
    let coming = ask(first);
    for (let url = first; ; ) {
      const { bytes } = await coming;
      const bundle = scanBundle(bytes);
      if (bundle.type !== 'searchset') throw client.invalid('it is not a searchset');
      const next = bundle.next === undefined ? undefined : client.follow(bundle.next, url);
      guard.check(bundle);
      const isComplete = guard.isComplete(bundle);
      if (next) coming = begun(ask(next));
      yield { bytes, bundle, isLast: !next && isComplete };
      if (!next) {
        if (!isComplete) throw guard.broken('it ended before all it announced');
        return;
      }
      url = next;
    }
  } finally {
    leaving.abort();
  }
}

/** What it throws is thrown when its turn comes, and does not matter if that never comes. */
function begun<Result>(work: Promise<Result>): Promise<Result> {
  work.catch(() => undefined);
  return work;
}

class PageGuard {
  readonly #peer: string;
  readonly #type: string;
  readonly #urls = new Set<string>();
  readonly #matches = new Set<string>();
  #lastDigest = '';
  #emptyCount = 0;

  constructor(peer: string, type: string) {
    this.#peer = peer;
    this.#type = type;
  }

  broken(reason: string): ConnectorError {
    return new ConnectorError('FHIR_PAGING_BROKEN', { peer: this.#peer, type: this.#type, reason });
  }

  visit(url: URL): void {
    // A digest, because links of some servers carry kilobytes of state.
    const digest = createHash('sha256').update(url.href).digest('base64');
    if (this.#urls.has(digest)) throw this.broken('its pages go round in a circle');
    if (this.#urls.size >= pagesMax) throw this.broken(`it has more than ${pagesMax} pages`);
    this.#urls.add(digest);
  }

  check(bundle: ScannedBundle): void {
    const matches = bundle.entries.filter(isMatch).map(({ resourceType, id, start, end }) => {
      return `${resourceType}/${id ?? `${start}-${end}`}`;
    });
    // One empty page before the end is an ordinary sight; a second is one that never ends.
    this.#emptyCount = matches.length === 0 && bundle.next !== undefined ? this.#emptyCount + 1 : 0;
    if (this.#emptyCount > 1) throw this.broken('it gives empty pages and says there are more');
    const digest = createHash('sha256').update(matches.join('\n')).digest('base64');
    if (matches.length > 0 && digest === this.#lastDigest) throw this.broken('it gives the same page again');
    this.#lastDigest = digest;
    for (const match of matches) this.#matches.add(match);
  }

  /** Without `total` there is nothing to hold it against. */
  isComplete({ total }: ScannedBundle): boolean {
    return total === undefined || this.#matches.size >= total;
  }
}

function isMatch({ mode, resourceType }: { mode: string | undefined; resourceType: string }): boolean {
  return mode === undefined ? resourceType !== 'OperationOutcome' : mode === 'match';
}
