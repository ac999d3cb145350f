/** Types of holdfast.js, where everything is explained. */

export interface Position { epoch: string; offset: number }
export interface Publication<T = any> {
  data: T;
  offset?: number;
  info?: { user: string; client: string; conn_info?: any; chan_info?: any };
  tags?: Record<string, string>;
  time?: number;
}
export interface Seat {
  room: string;
  channel: string;
  seat: number;
  team: string | null;
  status: "held" | "away";
  hold_seconds: number;
  token?: string;
  token_expires_at?: string;
}
export interface Welcome {
  session: { id: string; expires_at: string };
  user: { id: string; name: string };
  seats: Seat[];
}
export interface Subscribed { wasRecovering: boolean; recovered: boolean; missed: number }
export interface Handlers<T = any> {
  onPublication?(publication: Publication<T>, isMissed: boolean): void;
  onSubscribed?(how: Subscribed): void;
  onUnsubscribed?(why: { code: number; reason: string }): void;
  onJoin?(info: any): void;
  onLeave?(info: any): void;
  since?: Position;
}
export interface Options {
  name?: string;
  token?: string | (() => string | Promise<string>);
  seatToken?: string;
  storage?: "session" | "local" | "none";
  key?: string;
  socket?: new (url: string) => WebSocket;
}
export interface Once { key?: string }
export type State = "connecting" | "connected" | "waiting" | "offline";
export interface Events {
  state: { state: State; code?: number; reason?: string; retryIn?: number };
  connected: Welcome;
  seat: Seat | null;
  back: { channel: string; missed: number; recovered: boolean };
  overdue: undefined;
  replaced: { takeBack(): Promise<Welcome> };
  repeated: { what: string; key: string; tries: number; answer: any };
  message: any;
  frame: { direction: "in" | "out"; text: string };
}

export const Fault: Readonly<{ TIMEOUT: 1; LOST: 2; OFFLINE: 3; FULL: 4 }>;
export class HoldfastError extends Error {
  constructor(code: number, message: string, temporary?: boolean, retryAfter?: number);
  code: number;
  temporary: boolean;
  retryAfter: number;
}
export function backOff(
  attempt: number,
  bounds?: { holdLeft?: number; retryAfter?: number; random?: () => number },
): number;
export function isTerminal(code: number): boolean;
export function storeFor(policy: "session" | "local" | "none", page?: any): Storage | null;
export function newKey(): string;

export class Holdfast {
  constructor(url: string, options?: Options);
  readonly state: State;
  readonly welcome: Welcome | null;
  readonly seats: Seat[];
  readonly seat: Seat | null;
  readonly seatToken: string;
  readonly missed: number;
  readonly recovered: boolean | null;
  readonly heldUntil: number | null;
  readonly canResume: boolean;
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void;
  connect(): Promise<Welcome>;
  disconnect(): void;
  drop(downFor?: number): void;
  forget(): void;
  leave(room?: string): Promise<void>;
  end(): Promise<void>;
  subscribe<T = any>(channel: string, handlers?: Handlers<T>): Promise<Subscribed>;
  unsubscribe(channel: string): Promise<void>;
  position(channel: string): Position | undefined;
  publish(channel: string, data: any): Promise<void>;
  call(method: string, data?: any, once?: Once): Promise<any>;
  request(method: string, path: string, body?: any, once?: Once): Promise<any>;
  presence(channel: string): Promise<Record<string, any>>;
  history(channel: string, options?: { limit?: number; since?: Position; reverse?: boolean }): Promise<any>;
}
