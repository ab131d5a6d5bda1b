import { check } from "k6";
import redis from "k6/x/redis";

export default function () {
  check(redis, { "the extension is there": (r) => typeof r.Client === "function" });
}
