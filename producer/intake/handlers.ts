/** One handler a route: reads the request, asks the part that knows, words the answer. No state of its own. */
import type { Clock, Report } from '../../agent/model/ports.ts';
import type { Agents } from './agents.ts';
import { type Answer, byteHeader, type Exchange, readBody, requiredHeader, requireMediaType } from './exchange.ts';
import type { Heartbeats } from './heartbeats.ts';
import type { IntakeLimits } from './limits.ts';
import type { Receipts } from './receipts.ts';
import { refusal } from './refusals.ts';
import type { Retractions } from './retractions.ts';
import type { RouteName } from './routes.ts';
import type { Uploads } from './uploads.ts';

export interface Handling {
  readonly producer: string;
  readonly agents: Agents;
  readonly uploads: Uploads;
  readonly receipts: Receipts;
  readonly retractions: Retractions;
  readonly heartbeats: Heartbeats;
  readonly limits: IntakeLimits;
  readonly clock: Clock;
  readonly report: Report;
  /** Told after a retraction is durable. */
  readonly onRetraction: () => void;
}

export type Handler = (exchange: Exchange, handling: Handling) => Answer | Promise<Answer>;

const tusVersion = '1.0.0';
const tus = { 'Tus-Resumable': tusVersion } as const;
const voided = { ...tus, 'Kakehashi-Void': 'atomic' } as const;
const jose = 'application/jose';

export const handlers: Readonly<Record<RouteName, Handler>> = {
  health: (_, { producer }) => ({ status: 200, body: { ok: true, producer } }),

  hello: async (exchange, { agents, limits, clock, report }) => {
    requireMediaType(exchange, jose);
    const jws = (await readBody(exchange, limits.helloBytes)).toString();
    const body = agents.hello(exchange.agent, jws, clock.now());
    report({ name: 'intake.hello', source: exchange.agent, numbers: { epoch: body.epoch } });
    return { status: 200, body };
  },

  discover: (_, { limits }) => ({
    status: 204,
    headers: {
      ...tus,
      'Tus-Version': tusVersion,
      'Tus-Extension': 'creation,termination',
      'Tus-Max-Size': limits.parcelBytes,
    },
  }),

  announce: async (exchange, { uploads }) => {
    requireTus(exchange);
    const bytes = byteHeader(exchange, 'upload-length');
    const { parcelId, statement } = readMetadata(exchange);
    await uploads.announce({ agent: exchange.agent, parcelId, bytes, statement });
    const folder = exchange.url.pathname.replace(/\/?$/, '/');
    return { status: 201, headers: { ...tus, Location: `${folder}${parcelId}` } };
  },

  stand: (exchange, { uploads }) => {
    requireTus(exchange);
    const { offset, bytes } = uploads.stand(exchange);
    const headers = { ...tus, 'Upload-Offset': offset, 'Upload-Length': bytes, 'Cache-Control': 'no-store' };
    return { status: 200, headers };
  },

  append: async (exchange, { uploads }) => {
    requireTus(exchange);
    requireMediaType(exchange, 'application/offset+octet-stream');
    const offset = byteHeader(exchange, 'upload-offset');
    const isSized = exchange.request.headers['content-length'] !== undefined;
    const bytes = isSized ? byteHeader(exchange, 'content-length') : undefined;
    const reached = await uploads.append(exchange, { offset, bytes, body: exchange.request });
    return { status: 204, headers: { ...tus, 'Upload-Offset': reached } };
  },

  void: async (exchange, { uploads, report }) => {
    requireTus(exchange);
    const receipt = await uploads.void(exchange);
    if (receipt !== undefined) return { status: 409, headers: { ...voided, 'Content-Type': jose }, body: receipt };
    report({ name: 'parcel.voided', source: exchange.agent, parcel: exchange.parcelId });
    return { status: 204, headers: voided };
  },

  receipts: ({ agent, url }, { receipts }) => {
    const after = url.searchParams.get('after') ?? '0';
    if (!/^\d{1,15}$/.test(after)) throw refusal('BAD_REQUEST');
    return {
      status: 200,
      headers: { 'Cache-Control': 'no-store' },
      body: { receipts: receipts.after(agent, Number(after)) },
    };
  },

  retract: async (exchange, { retractions, limits, report, onRetraction }) => {
    requireMediaType(exchange, jose);
    const jws = (await readBody(exchange, limits.retractionBytes)).toString();
    const body = await retractions.take(exchange.agent, jws);
    report({ name: 'intake.retraction-stored', source: exchange.agent });
    onRetraction();
    return { status: 200, headers: { 'Content-Type': jose }, body };
  },

  heartbeat: async (exchange, { heartbeats, limits }) => {
    requireMediaType(exchange, 'application/json');
    const signature = requiredHeader(exchange, 'kakehashi-signature', 'HEARTBEAT_INVALID');
    const body = await readBody(exchange, limits.heartbeatBytes);
    heartbeats.take(exchange.agent, { body, signature });
    return { status: 200, body: {} };
  },
};

/** Where an upload stands, beside a refusal that leaves the client wondering. */
export function offsetHeader(
  name: RouteName,
  exchange: Exchange,
  { uploads }: Handling,
): Record<string, string | number> {
  if (!exchange.url.pathname.startsWith('/files')) return {};
  if (name !== 'append') return tus;
  const offset = uploads.offset(exchange);
  return offset === undefined ? tus : { ...tus, 'Upload-Offset': offset };
}

function requireTus(exchange: Exchange): void {
  if (exchange.request.headers['tus-resumable'] !== tusVersion) throw refusal('TUS_VERSION');
}

/** `Upload-Metadata: parcelId <base64>,statement <base64>`, tus 1.0 section "Creation". */
function readMetadata(exchange: Exchange): { parcelId: string; statement: string } {
  const pairs = requiredHeader(exchange, 'upload-metadata').split(',');
  const values = new Map(
    pairs.map((pair) => {
      const [key = '', value = ''] = pair.trim().split(' ');
      return [key, Buffer.from(value, 'base64').toString()];
    }),
  );
  const parcelId = values.get('parcelId');
  const statement = values.get('statement');
  if (parcelId === undefined || statement === undefined) throw refusal('BAD_REQUEST');
  return { parcelId, statement };
}
