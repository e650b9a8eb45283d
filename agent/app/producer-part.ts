import { readSecret } from '../base/secret.ts';
import type { PublicJwk } from '../base/jws.ts';
import type { Config, ProducerConfig } from '../config/schema.ts';
import { Shipping, type ShipTally } from '../flow/shipping.ts';
import type { AfterCommit, ProducerRow, Store } from '../flow/store.ts';
import { Heartbeat, type Status, type TrustedClock } from '../health/index.ts';
import { ConnectorError, isError } from '../model/errors.ts';
import type { Clock, Progress, Report } from '../model/ports.ts';
import { ProducerLink } from '../ship/link.ts';
import { RateSchedule, Throttle } from '../ship/rate.ts';
import type { Faults } from './faults.ts';

export interface ProducerPartOptions {
  readonly config: ProducerConfig;
  readonly row: ProducerRow;
  readonly facility: Config['facility']['code'];
  readonly heartbeatMs: number;
  readonly store: Store;
  readonly time: TrustedClock;
  readonly clock: Clock;
  readonly report: Report;
  readonly faults: Faults;
  readonly receiptKeys: readonly PublicJwk[];
  readonly finish: (after: AfterCommit) => Promise<void>;
  readonly isPaused: () => boolean;
  readonly status: () => Status;
  /** The clock has become trusted, or what is held may have become ready. */
  readonly onNews: () => void;
}

/** A greeting refreshes what is known of the producer's clock. */
const greetEveryMs = 3_600_000;

/** Between the first attempts to reach a producer; it doubles up to the heartbeat's interval. */
const firstRetryMs = 1_000;

/** One configured producer: the link to it, the shipping over it, and the heartbeat beside. */
export class ProducerPart {
  readonly name: string;
  readonly cron: string;
  readonly shipping: Shipping;
  readonly #options: ProducerPartOptions;
  readonly #link: ProducerLink;

  constructor(options: ProducerPartOptions) {
    const { config, row, store, clock, report, time, receiptKeys, finish, isPaused } = options;
    this.name = config.name;
    this.cron = config.schedule;
    this.#options = options;
    this.#link = new ProducerLink({ ...config, proxy: proxyOf(config), clock, report });
    this.shipping = new Shipping(store, row, {
      link: this.#link,
      receiptKeys,
      rate: new Throttle(RateSchedule.parse(config.bandwidth), clock),
      clock,
      confirmTime: (at, roundTripMs) => time.confirm(at, roundTripMs),
      finish,
      isPaused,
    });
  }

  /** One run of shipping. @throws ConnectorError what it failed with, also kept as the part's fault */
  async ship(signal: AbortSignal, progress: Progress): Promise<ShipTally> {
    const { faults, onNews } = this.#options;
    try {
      const tally = await this.shipping.run(signal, progress);
      faults.clear(this.name);
      return tally;
    } catch (error) {
      if (error instanceof ConnectorError) faults.set(this.name, error.code);
      throw error;
    } finally {
      onNews();
    }
  }

  /** Tells of stops and asks for receipts, now; trouble is told, and the next run tries again. */
  async settle(): Promise<void> {
    await this.#attempt(() => this.shipping.settle());
  }

  /** Heartbeats until `signal` aborts, and a greeting whenever the clock wants one. */
  async keepInTouch(signal: AbortSignal): Promise<void> {
    const { clock, time, heartbeatMs, onNews, status } = this.#options;
    const heartbeat = this.#heartbeat();
    let greetedAt = Number.NEGATIVE_INFINITY;
    let pauseMs = firstRetryMs;
    while (!signal.aborted) {
      if (!time.isTrusted() || clock.monotonic() - greetedAt > greetEveryMs) {
        const isGreeted = await this.#attempt(() => this.shipping.greet(), signal);
        if (isGreeted) {
          greetedAt = clock.monotonic();
          this.#options.faults.clear(this.name);
          onNews();
        }
        pauseMs = isGreeted ? heartbeatMs : Math.min(2 * pauseMs, heartbeatMs);
      }
      if (this.#link.receiver !== 'tus' && !signal.aborted) await heartbeat.beat(status(), signal);
      await clock.sleep(pauseMs, signal);
    }
  }

  /** Questions in flight fail; uploads have ended by their own signal. */
  async close(): Promise<void> {
    await this.#link.close();
  }

  async #attempt(work: () => Promise<void>, signal?: AbortSignal): Promise<boolean> {
    const { faults, report } = this.#options;
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      // What our own stop cut off is no failure of the producer's.
      if (signal?.aborted) return false;
      faults.set(this.name, error.code);
      report({ name: 'ship.failed', producer: this.name, code: error.code });
      return false;
    }
  }

  #heartbeat(): Heartbeat {
    const { store, clock, report, facility } = this.#options;
    return new Heartbeat({
      db: store.db,
      clock,
      report,
      producer: this.name,
      agent: facility,
      key: store.keys.signing,
      send: async ({ body, signature }) => {
        try {
          await this.#link.sendMetrics(body, signature);
          return 'accepted';
        } catch (error) {
          if (isError(error, 'HEARTBEAT_OLD')) return 'sequence-old';
          throw error;
        }
      },
    });
  }
}

function proxyOf({ proxy }: ProducerConfig) {
  if (!proxy) return undefined;
  const password = proxy.password && readSecret(proxy.password, process.env);
  return {
    url: proxy.url,
    ...(proxy.username !== undefined && { username: proxy.username }),
    ...(password !== undefined && { password }),
  };
}
