/**
 * What the intake offers: every path, what it answers, and every refusal it may give. The server routes by this table,
 * and a test compares it with docs/producer-api.openapi.yaml, so the three cannot drift apart.
 */
import { type RefusalCode, refusalTable } from './refusals.ts';

interface RouteEntry {
  readonly method: 'GET' | 'POST' | 'OPTIONS' | 'HEAD' | 'PATCH' | 'DELETE';
  /** Below the root of the intake; `{parcelId}` stands for an id. */
  readonly path:
    | '/v1/health'
    | '/v1/hello'
    | '/v1/receipts'
    | '/v1/retractions'
    | '/v1/metrics'
    | '/files/'
    | '/files/{parcelId}';
  /** Statuses of a yes, and of a no that is not in the table of refusals. */
  readonly answers: readonly number[];
  readonly refusals: readonly RefusalCode[];
}

export const routes = {
  health: { method: 'GET', path: '/v1/health', answers: [200], refusals: [] },
  hello: {
    method: 'POST',
    path: '/v1/hello',
    answers: [200],
    refusals: [
      'AGENT_MISMATCH',
      'KEY_MISMATCH',
      'EPOCH_OLD',
      'BODY_TIMEOUT',
      'TOO_LARGE',
      'MEDIA_TYPE',
      'SIGNATURE_INVALID',
    ],
  },
  discover: { method: 'OPTIONS', path: '/files/', answers: [204], refusals: [] },
  announce: {
    method: 'POST',
    path: '/files/',
    answers: [201],
    refusals: [
      'BAD_REQUEST',
      'EXISTS',
      'GONE',
      'TUS_VERSION',
      'TOO_LARGE',
      'STATEMENT_NO_KEY',
      'STATEMENT_SIGNATURE',
      'STATEMENT_SHAPE',
      'STATEMENT_MISMATCH',
      'STATEMENT_EPOCH',
      'STATEMENT_SEQUENCE',
      'FULL',
      'QUOTA',
    ],
  },
  stand: { method: 'HEAD', path: '/files/{parcelId}', answers: [200], refusals: ['NOT_FOUND', 'GONE', 'TUS_VERSION'] },
  append: {
    method: 'PATCH',
    path: '/files/{parcelId}',
    answers: [204],
    refusals: [
      'BAD_REQUEST',
      'NOT_FOUND',
      'BODY_TIMEOUT',
      'OFFSET_MISMATCH',
      'GONE',
      'TUS_VERSION',
      'TOO_LARGE',
      'MEDIA_TYPE',
      'LOCKED',
      'DIGEST_MISMATCH',
      'FULL',
    ],
  },
  void: {
    method: 'DELETE',
    path: '/files/{parcelId}',
    // 409 is the `stored` receipt: too late.
    answers: [204, 409],
    refusals: ['TUS_VERSION', 'QUOTA'],
  },
  receipts: { method: 'GET', path: '/v1/receipts', answers: [200], refusals: ['BAD_REQUEST'] },
  retract: {
    method: 'POST',
    path: '/v1/retractions',
    answers: [200],
    refusals: [
      'AGENT_MISMATCH',
      'BODY_TIMEOUT',
      'EPOCH_OLD',
      'RETRACTION_CHANGED',
      'TOO_LARGE',
      'MEDIA_TYPE',
      'SIGNATURE_INVALID',
    ],
  },
  heartbeat: {
    method: 'POST',
    path: '/v1/metrics',
    answers: [200],
    refusals: ['HEARTBEAT_INVALID', 'AGENT_MISMATCH', 'BODY_TIMEOUT', 'SEQUENCE_OLD', 'TOO_LARGE', 'MEDIA_TYPE'],
  },
} as const satisfies Readonly<Record<string, RouteEntry>>;

export type RouteName = keyof typeof routes;

/** What any request may be told. */
const commonRefusals: readonly RefusalCode[] = [
  'CERTIFICATE_NAME',
  'CERTIFICATE_REVOKED',
  'CERTIFICATE_EXPIRED',
  'BUSY',
  'INTERNAL',
  'STOPPING',
];

/** Every code and status a route can answer with. */
export function possibleAnswers(name: RouteName): { statuses: number[]; codes: RefusalCode[] } {
  const { answers, refusals }: RouteEntry = routes[name];
  const codes = [...refusals, ...commonRefusals];
  const statuses = new Set([...answers, ...codes.map((code) => refusalTable[code].status)]);
  return { statuses: [...statuses].toSorted((a, b) => a - b), codes: codes.toSorted() };
}

type Routed =
  | { readonly name: RouteName; readonly parcelId?: string }
  /** The path is known, the method is not. */
  | { readonly allow: readonly string[] }
  | undefined;

/** Finds the route of a request. A missing last slash is forgiven. */
export function findRoute(method: string, pathname: string): Routed {
  const path = pathname.endsWith('/') || pathname !== '/files' ? pathname : '/files/';
  const parcelId = /^\/files\/([^/]+)$/.exec(path)?.[1];
  const template = parcelId === undefined ? path : '/files/{parcelId}';
  const there = Object.keys(routes)
    .filter(isRouteName)
    .filter((name) => routes[name].path === template);
  const name = there.find((each) => routes[each].method === method);
  if (name === undefined) return there.length === 0 ? undefined : { allow: there.map((each) => routes[each].method) };
  return { name, ...(parcelId === undefined ? {} : { parcelId }) };
}

export function isRouteName(text: string): text is RouteName {
  return Object.hasOwn(routes, text);
}
