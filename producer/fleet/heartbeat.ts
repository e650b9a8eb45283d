/** What the fleet page wants from a heartbeat (OTLP/HTTP JSON): the agent's own state word, what it advises, its version. */
import { z } from 'zod';

export interface HeartbeatFacts {
  /** `ok`, `attention`, `paused`, `stopped-by-fault`, `safe`; undefined when it says none. */
  readonly state?: string;
  readonly advice: readonly string[];
  readonly version?: string;
  readonly oldestUnsentMs?: number;
  readonly certificateDaysLeft?: number;
}

const attribute = z.object({ key: z.string(), value: z.object({ stringValue: z.string().optional() }) });
const dataPoint = z.object({
  attributes: z.array(attribute).default([]),
  asInt: z.union([z.string(), z.number()]).optional(),
});
const metric = z.object({ name: z.string(), gauge: z.object({ dataPoints: z.array(dataPoint) }).optional() });
const request = z.object({
  resourceMetrics: z.array(z.object({ scopeMetrics: z.array(z.object({ metrics: z.array(metric) })).default([]) })),
});

type Point = z.infer<typeof dataPoint>;

/** A word for a terminal: an agent's words are short and plain, and what is not is not shown. */
const plainWord = /^[A-Za-z0-9._-]{1,40}$/;

/** A heartbeat of an agent newer than this intake may look otherwise; then nothing is read from it. */
export function readHeartbeat(body: string): HeartbeatFacts {
  const parsed = request.safeParse(JSON.parse(body));
  if (!parsed.success) return { advice: [] };
  const metrics = parsed.data.resourceMetrics.flatMap(({ scopeMetrics }) =>
    scopeMetrics.flatMap((scope) => scope.metrics),
  );
  const points = (name: string) =>
    metrics.filter((each) => each.name === name).flatMap(({ gauge }) => gauge?.dataPoints ?? []);
  const numbers = (name: string) =>
    points(name)
      .map(({ asInt }) => Number(asInt))
      .filter(Number.isFinite);
  const state = words(points('kakehashi.state'), 'state')[0];
  const version = words(points('kakehashi.build'), 'version')[0];
  const oldestUnsentMs = numbers('kakehashi.unsent.oldest_age')[0];
  const days = numbers('kakehashi.certificate.days_left');
  return {
    advice: words(points('kakehashi.advice'), 'reason'),
    ...(state === undefined ? {} : { state }),
    ...(version === undefined ? {} : { version }),
    ...(oldestUnsentMs === undefined ? {} : { oldestUnsentMs }),
    ...(days.length === 0 ? {} : { certificateDaysLeft: Math.min(...days) }),
  };
}

function words(points: readonly Point[], key: string): string[] {
  return points
    .flatMap(({ attributes }) =>
      attributes.filter((each) => each.key === key).map(({ value }) => value.stringValue ?? ''),
    )
    .filter((word) => plainWord.test(word));
}
