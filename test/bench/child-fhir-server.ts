/**
 * A FHIR server that costs as little as one can: every page is a piece of one buffer, made before anybody asks. It
 * understands `_lastUpdated`, `_count` and the pages of its own links. Says `{"url": …}`.
 *
 * `node child-fhir-server.ts RESOURCES FROM` - FROM is when the first was changed, the others follow a second apart.
 */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { portOf } from '../peers/producer/port.ts';
import { observationJson, patientJson, patients } from './fhir-pages.ts';

const [resources = '', from = ''] = process.argv.slice(2);
const firstAt = Number(from);
const everyMs = 1000;

class Shelf {
  readonly #bytes: Buffer;
  /** Where each entry begins, with the comma before it, and where the last ends. */
  readonly #offsets: number[] = [0];

  constructor(count: number, write: (n: number, at: number) => string) {
    const pieces: Buffer[] = [];
    for (let n = 0; n < count; n++) {
      const piece = Buffer.from(`,{"resource":${write(n, firstAt + n * everyMs)},"search":{"mode":"match"}}`);
      pieces.push(piece);
      this.#offsets.push((this.#offsets[n] ?? 0) + piece.length);
    }
    this.#bytes = Buffer.concat(pieces);
  }

  page(url: URL): Buffer[] {
    const [low, high] = this.#range(url.searchParams.getAll('_lastUpdated'));
    const count = Number(url.searchParams.get('_count'));
    const page = Number(url.searchParams.get('_page') ?? 0);
    const start = Math.min(low + page * count, high);
    const end = Math.min(start + count, high);
    const next = new URL(url);
    next.searchParams.set('_page', String(page + 1));
    const link = end < high ? `"link":[{"relation":"next","url":${JSON.stringify(next.href)}}],` : '';
    const head = Buffer.from(`{"resourceType":"Bundle","type":"searchset","total":${high - low},${link}"entry":[`);
    const entries = this.#bytes.subarray((this.#offsets[start] ?? 0) + (end > start ? 1 : 0), this.#offsets[end]);
    return [head, entries, Buffer.from(']}')];
  }

  /** Ordinals of what was changed within the bounds: `ge…` and `lt…`. */
  #range(bounds: readonly string[]): [number, number] {
    let [low, high] = [0, this.#offsets.length - 1];
    for (const bound of bounds) {
      const ordinal = Math.ceil((Date.parse(bound.slice(2)) - firstAt) / everyMs);
      if (bound.startsWith('ge')) low = Math.max(low, ordinal);
      else high = Math.max(0, Math.min(high, ordinal));
    }
    return [Math.min(low, high), high];
  }
}

const shelves: Readonly<Record<string, Shelf>> = {
  Patient: new Shelf(patients, patientJson),
  Observation: new Shelf(Number(resources), observationJson),
};
const resource = Object.keys(shelves).map((type) => ({ type, interaction: [{ code: 'search-type' }] }));
const metadata = JSON.stringify({
  resourceType: 'CapabilityStatement',
  fhirVersion: '4.0.1',
  rest: [{ mode: 'server', resource }],
});

const server = createServer((request, response) => {
  const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
  const shelf = shelves[url.pathname.replace('/fhir/', '')];
  const body = shelf ? shelf.page(url) : [Buffer.from(metadata)];
  const bytes = body.reduce((sum, { length }) => sum + length, 0);
  response.writeHead(200, { 'content-type': 'application/fhir+json', 'content-length': bytes });
  for (const piece of body) response.write(piece);
  response.end();
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${portOf(server)}/fhir` })}\n`);
